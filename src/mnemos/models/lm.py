"""A decoder language model that carries memory: any mixer, or a pattern of mixers, between RMS norms.

    model = MnemosForCausalLM(MnemosConfig(mixer="titans-mac,swa", vocab_size=259))
    out = model(input_ids, labels=input_ids)         # out.loss
    model.generate(input_ids, max_new_tokens=100)    # Hugging Face's, with our states as its cache

Pre-norm residual blocks as in Llama; no dropout. Axes: B batch, T time, D model width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedModel
from transformers.utils.deprecation import deprecate_kwarg
from transformers.utils.generic import ModelOutput, can_return_tuple

from mnemos.core.errors import InvalidInput
from mnemos.models.block import MnemosBlock
from mnemos.models.cache import MnemosCache
from mnemos.models.config import MnemosConfig
from mnemos.models.loss import IGNORED, chunked_cross_entropy

AUXILIARY_WEIGHT = 0.01
"""Of what mixers ask for in training, such as the balance of a router (Switch, MoM)."""


@dataclass
class MnemosOutput(ModelOutput):
    """What `MnemosModel` returns."""

    last_hidden_state: Tensor | None = None
    """[B, T, D], normed."""
    cache: MnemosCache | None = None
    """The states after the last token."""
    hidden_states: tuple[Tensor, ...] | None = None
    """[B, T, D] before each layer, and the last."""
    auxiliary_loss: Tensor | None = None
    """What the mixers ask for in training beside the model's loss, times `AUXILIARY_WEIGHT`."""


@dataclass
class MnemosCausalLMOutput(ModelOutput):
    """What `MnemosForCausalLM` returns."""

    loss: Tensor | None = None
    """Mean cross-entropy in nats, float32, with the mixers' auxiliary loss in training."""
    logits: Tensor | None = None
    """[B, T, V], or the last `logits_to_keep` of T; None where there are labels."""
    cache: MnemosCache | None = None
    """The states after the last token."""
    hidden_states: tuple[Tensor, ...] | None = None
    """[B, T, D] before each layer, and the last."""
    auxiliary_loss: Tensor | None = None
    """The part of the loss that the mixers asked for."""


class MnemosPreTrainedModel(PreTrainedModel):
    """How the models start and load."""

    config_class = MnemosConfig
    config: MnemosConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["MnemosBlock"]  # noqa: RUF012
    _is_stateful = True

    @classmethod
    def get_init_context(cls, *args: Any, **kwargs: Any) -> list[Any]:
        """Without the meta device: mixers compute constants where they are made, which it would lose."""
        contexts = super().get_init_context(*args, **kwargs)
        return [one for one in contexts if not isinstance(one, torch.device)]

    def _move_missing_keys_from_meta_to_device(self, *args: Any, **kwargs: Any) -> None:
        """Without emptying the constants that are no part of a checkpoint."""
        constants = dict(self.named_non_persistent_buffers())
        super()._move_missing_keys_from_meta_to_device(*args, **kwargs)
        for name, constant in constants.items():
            self.get_buffer(name).copy_(constant)

    def _init_weights(self, module: nn.Module) -> None:
        # mixers and linear layers have started themselves, in their own ways
        if isinstance(module, nn.Embedding) or module is getattr(self, "lm_head", None):
            nn.init.normal_(module.weight, std=self.config.initializer_range)


class MnemosModel(MnemosPreTrainedModel):
    """Embedding, blocks and last norm.

    Raises:
        InvalidInput: a mixer cannot use its settings.
    """

    def __init__(self, config: MnemosConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([MnemosBlock(config, layer) for layer in range(config.num_hidden_layers)])
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.norm_eps)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        cache: MnemosCache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> MnemosOutput:
        """Run all blocks.

        Args:
            input_ids: int64 [B, T]; or `inputs_embeds` [B, T, D].
            attention_mask: [B, T] or [B, past + T], 0 for padding. A padded row gives what it gives alone; its
                output at padding is zero. Padding on the right that no state outlives is simply run over.
            cache: of an earlier call; is brought up to the last token.
            use_cache: return the states; default: outside training, as configured.
            output_hidden_states: return what enters each block.

        Raises:
            InvalidInput: ids outside the vocabulary, a wrong shape, or a cache of another model or batch.
        """
        x = self._embed(input_ids, inputs_embeds)
        batch, tokens = x.shape[:2]
        if use_cache is None:
            use_cache = self.config.use_cache and not self.training
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        past = cache if cache is not None else MnemosCache()
        keeps = use_cache or cache is not None
        live = _live(attention_mask, batch, tokens, past.columns, keeps)
        if past.packed and live is None:
            live = torch.ones(batch, tokens, dtype=torch.bool, device=x.device)
        cu_seqlens = None if live is None else _borders(live)
        if past.states and len(past.states) != len(self.layers):
            raise InvalidInput(f"the cache holds {len(past)} layers and the model has {len(self.layers)}")
        states: list[Any] = past.states if live is None else past.unpacked()
        if live is not None:
            x = x[live][None]

        seen, auxiliary, after = [], [], []
        for layer, state in zip(self.layers, states or [None] * len(self.layers), strict=True):
            if output_hidden_states:
                seen.append(_spread(x, live))
            x, new, extra = layer(x, state, cu_seqlens)
            if keeps:
                after.append(new)
            if extra is not None:
                auxiliary.append(extra)
        x = _spread(self.norm(x), live)
        if keeps:
            past.states, past.packed = after, live is not None
            past.columns += tokens
        return MnemosOutput(
            last_hidden_state=x,
            cache=past if keeps else None,
            hidden_states=(*seen, x) if output_hidden_states else None,
            auxiliary_loss=AUXILIARY_WEIGHT * torch.stack(auxiliary).mean() if auxiliary else None,
        )

    def _embed(self, input_ids: Tensor | None, inputs_embeds: Tensor | None) -> Tensor:
        if inputs_embeds is not None:
            if input_ids is not None:
                raise InvalidInput("give either input_ids or inputs_embeds, not both")
            if inputs_embeds.ndim != 3:
                raise InvalidInput(f"inputs_embeds of shape {list(inputs_embeds.shape)}: give [B, T, D]")
            return inputs_embeds
        if input_ids is None:
            raise InvalidInput("give input_ids or inputs_embeds")
        if input_ids.ndim != 2 or 0 in input_ids.shape or input_ids.is_floating_point():
            raise InvalidInput(f"input_ids {list(input_ids.shape)}, {input_ids.dtype}: give integers [B, T], not empty")
        # on a GPU the check would wait for it, and the kernel's own assertion speaks
        if input_ids.device.type == "cpu" and not 0 <= input_ids.min() <= input_ids.max() < self.config.vocab_size:
            raise InvalidInput(
                f"input_ids from {int(input_ids.min())} to {int(input_ids.max())} leave the vocabulary of "
                f"{self.config.vocab_size}: use the tokenizer that the model was trained with"
            )
        x: Tensor = self.embed_tokens(input_ids)
        return x


class MnemosForCausalLM(MnemosPreTrainedModel, GenerationMixin):
    """`MnemosModel` with a head over the vocabulary, which is the embedding unless the config says otherwise."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012
    accepts_loss_kwargs = True

    def __init__(self, config: MnemosConfig) -> None:
        super().__init__(config)
        self.model = MnemosModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    @deprecate_kwarg("past_key_values", "5.40.0", new_name="cache")
    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        cache: MnemosCache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        output_logits: bool | None = None,
        logits_to_keep: int = 0,
        num_items_in_batch: Tensor | int | None = None,
    ) -> MnemosCausalLMOutput:
        """Predict the next token.

        Args:
            input_ids, attention_mask, cache, inputs_embeds, use_cache, output_hidden_states: see `MnemosModel`.
            labels: int64 [B, T], usually the input_ids; shifted here; -100 is not counted. With them the states are
                returned only if `use_cache` asks for it.
            output_logits: default: only without labels, because [B, T, V] is what fills the memory.
            logits_to_keep: logits of that many last tokens; 0 of all.
            num_items_in_batch: what to divide the summed loss by, if not the tokens of this call
                (gradient accumulation).

        Raises:
            InvalidInput: see `MnemosModel`; labels that do not fit.
        """
        if use_cache is None and labels is not None:
            use_cache = False
        out = self.model(
            input_ids,
            attention_mask=attention_mask,
            cache=cache,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        hidden = out.last_hidden_state
        loss = logits = None
        if labels is not None:
            if labels.shape != hidden.shape[:2]:
                raise InvalidInput(
                    f"labels {list(labels.shape)} do not fit input {list(hidden.shape[:2])}: same [B, T]"
                )
            loss = self._loss(hidden, labels, num_items_in_batch, out.auxiliary_loss)
        if labels is None if output_logits is None else output_logits:
            logits = self.lm_head(hidden[:, -logits_to_keep:])
        return MnemosCausalLMOutput(
            loss=loss,
            logits=logits,
            cache=out.cache,
            hidden_states=out.hidden_states,
            auxiliary_loss=out.auxiliary_loss,
        )

    def _loss(self, hidden: Tensor, labels: Tensor, items: Tensor | int | None, auxiliary: Tensor | None) -> Tensor:
        targets = labels[:, 1:].flatten()
        total = chunked_cross_entropy(hidden[:, :-1].flatten(0, 1), self.lm_head.weight, targets)
        count = (targets != IGNORED).sum().clamp(min=1)
        if auxiliary is not None:
            total = total + auxiliary * count  # weighs what its tokens weigh, however many batches make a step
        if items is None:
            return total / count
        return total / (items.to(total.device) if isinstance(items, Tensor) else items)

    def _prepare_cache_for_generation(
        self,
        generation_config: Any,
        model_kwargs: dict[str, Any],
        generation_mode: Any,
        batch_size: int,
        max_cache_length: int,
    ) -> Any:  # nothing, whatever the base class is annotated with; it would make keys and values
        if generation_config.cache_implementation is not None:
            raise InvalidInput(f"cache_implementation {generation_config.cache_implementation!r}: states need none")
        if generation_config.use_cache is not False and model_kwargs.get("cache") is None:
            model_kwargs["cache"] = MnemosCache()


def _live(mask: Tensor | None, batch: int, tokens: int, past: int, keeps: bool) -> Tensor | None:
    """[B, T], True at tokens; None where all are, or where the padding does no harm."""
    if mask is None:
        return None
    if mask.ndim != 2 or mask.shape[0] != batch or mask.shape[1] not in (tokens, past + tokens):
        raise InvalidInput(f"attention_mask {list(mask.shape)} does not fit [B, T] = {[batch, tokens]} after {past}")
    live = mask[:, -tokens:].bool()
    if live.all() or (not keeps and not (live[:, 1:] & ~live[:, :-1]).any()):
        return None
    return live


def _borders(live: Tensor) -> Tensor:
    lengths = live.sum(1)
    if not lengths.all():
        row = int((lengths == 0).nonzero()[0])
        raise InvalidInput(f"row {row} of the batch holds padding alone: leave it out, or prefill in one piece")
    return F.pad(lengths.cumsum(0), (1, 0))


def _spread(x: Tensor, live: Tensor | None) -> Tensor:
    """[1, N, D] back to [B, T, D], zeros at padding."""
    if live is None:
        return x
    spread = x.new_zeros(*live.shape, x.shape[-1])
    spread[live] = x[0]
    return spread


__all__ = ["MnemosCausalLMOutput", "MnemosForCausalLM", "MnemosModel", "MnemosOutput"]
