"""The shape of a language model, as Hugging Face keeps one: `config.json` beside the weights."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, get_args

from transformers import PretrainedConfig

from mnemos.core.errors import InvalidInput
from mnemos.state.mixers.registry import check_mixer_name

ChannelMixer = Literal["swiglu", "gelu", "none"]


class MnemosConfig(PretrainedConfig):
    """What `MnemosForCausalLM` is built from.

    Args:
        vocab_size: rows of the embedding.
        hidden_size: model width D.
        num_hidden_layers: blocks of one token mixer and one channel mixer.
        num_heads: of every token mixer; must divide D.
        mixer: a name of `mixer_names()`, or a pattern such as "titans-mac,swa" that repeats over the layers.
        mixer_settings: {"swa": {"window": 64}}: by mixer, what its class takes beyond dim and heads.
        channel_mixer: "swiglu", "gelu", or "none" for mixers that bring their own.
        hidden_ratio: width of the channel mixer over D; a SwiGLU takes 2/3 of it, for the same parameter count.
        tie_word_embeddings: the output head is the embedding.
        initializer_range: standard deviation of the embedding at the start.
        norm_eps: of the RMS norms.
        use_cache: whether a forward pass outside training returns its states.

    Raises:
        InvalidInput: a value out of range, or settings for a mixer that the pattern lacks.
        NotFound: no such mixer.
    """

    model_type: ClassVar[str] = "mnemos"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["cache"]
    attribute_map: ClassVar[dict[str, str]] = {"num_attention_heads": "num_heads"}

    vocab_size: int = 259
    hidden_size: int = 256
    num_hidden_layers: int = 4
    num_heads: int = 4
    mixer: str = "titans-mac"
    mixer_settings: dict[str, dict[str, Any]] | None = None
    channel_mixer: ChannelMixer = "swiglu"
    hidden_ratio: float = 4.0
    tie_word_embeddings: bool = True
    initializer_range: float = 0.02
    norm_eps: float = 1e-5
    use_cache: bool = True
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        for name in ("vocab_size", "hidden_size", "num_hidden_layers", "num_heads"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InvalidInput(f"{name} {value!r}: give a positive whole number")
        for name in ("hidden_ratio", "initializer_range", "norm_eps"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not value > 0:
                raise InvalidInput(f"{name} {value!r}: give a positive number")
        if self.hidden_size % self.num_heads:
            raise InvalidInput(
                f"hidden_size {self.hidden_size} is no multiple of num_heads {self.num_heads}: change one of them"
            )
        if self.channel_mixer not in get_args(ChannelMixer):
            raise InvalidInput(f"channel_mixer {self.channel_mixer!r}: one of {', '.join(get_args(ChannelMixer))}")
        if not isinstance(self.mixer, str):
            raise InvalidInput(f"mixer {self.mixer!r}: give a name, or names with commas between")
        for name in self.pattern:
            check_mixer_name(name)
        if stray := sorted(set(self.mixer_settings or ()) - set(self.pattern)):
            raise InvalidInput(f"mixer_settings for {stray[0]!r}, which is not in the pattern {self.mixer!r}")

    @property
    def pattern(self) -> list[str]:
        """The names in `mixer`, one turn of the pattern."""
        return [name.strip() for name in self.mixer.split(",")]

    @property
    def layer_mixers(self) -> list[tuple[str, dict[str, Any]]]:
        """Name and settings of each layer's mixer."""
        pattern, settings = self.pattern, self.mixer_settings or {}
        names = [pattern[n % len(pattern)] for n in range(self.num_hidden_layers)]
        return [(name, settings.get(name, {})) for name in names]


__all__ = ["ChannelMixer", "MnemosConfig"]
