"""One layer of the model: a token mixer and a channel mixer, each after an RMS norm and beside a residual."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from mnemos.models.config import MnemosConfig
from mnemos.state.mixers.base import Mixer
from mnemos.state.mixers.parts import GatedOutput
from mnemos.state.mixers.registry import make_mixer
from mnemos.state.value import State


class MnemosBlock(GradientCheckpointingLayer):
    """x + mixer(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: MnemosConfig, index: int) -> None:
        super().__init__()
        name, settings = config.layer_mixers[index]
        self.mixer_norm = nn.RMSNorm(config.hidden_size, eps=config.norm_eps)
        self.mixer = make_mixer(name, config.hidden_size, config.num_heads, **settings)
        mixes = config.channel_mixer != "none"
        self.mlp_norm = nn.RMSNorm(config.hidden_size, eps=config.norm_eps) if mixes else None
        self.mlp = ChannelMixer(config) if mixes else None
        # the variance of what the residual gathers must not grow with depth (Radford et al., 2019)
        with torch.no_grad():
            for layer in _outputs(self.mixer) + ([] if self.mlp is None else [self.mlp.down]):
                layer.weight.mul_((2 * config.num_hidden_layers) ** -0.5)

    def forward(
        self, x: Tensor, state: State | None = None, cu_seqlens: Tensor | None = None
    ) -> tuple[Tensor, State, Tensor | None]:
        """x [B, T, D] to x, the mixer's state, and its auxiliary loss where it has one in training."""
        y, state = self.mixer(self.mixer_norm(x), state, cu_seqlens=cu_seqlens)
        x = x + y
        if self.mlp is not None and self.mlp_norm is not None:
            x = x + self.mlp(self.mlp_norm(x))
        auxiliary = getattr(self.mixer, "auxiliary", None) if self.training else None
        return x, state, None if auxiliary is None else auxiliary()


class ChannelMixer(nn.Module):
    """SwiGLU, W_down (SiLU(W_gate x) * W_up x), or GELU, W_down GELU(W_up x), of width `hidden_ratio` D."""

    def __init__(self, config: MnemosConfig) -> None:
        super().__init__()
        gated = config.channel_mixer == "swiglu"
        width = round(config.hidden_size * config.hidden_ratio * (2 / 3 if gated else 1))
        width = -(-width // 8) * 8
        self.gate = nn.Linear(config.hidden_size, width, bias=False) if gated else None
        self.up = nn.Linear(config.hidden_size, width, bias=False)
        self.down = nn.Linear(width, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., D] to y [..., D]."""
        hidden = F.gelu(self.up(x)) if self.gate is None else F.silu(self.gate(x)) * self.up(x)
        y: Tensor = self.down(hidden)
        return y


_OUTPUTS = {"o", "out", "output", "wo", "o_proj", "out_proj"}


def _outputs(mixer: nn.Module) -> list[nn.Linear]:
    """The linear layers that a mixer ends in; in one made of mixers and without its own, those of all of them."""
    found: list[nn.Linear] = []
    inner: list[nn.Linear] = []
    for name, part in mixer.named_children():
        if isinstance(part, Mixer):
            inner += _outputs(part)
        elif isinstance(part, GatedOutput):
            found.append(part.linear)
        elif isinstance(part, nn.Linear) and name in _OUTPUTS:
            found.append(part)
        else:
            found += _outputs(part)
    return found or inner


__all__ = ["ChannelMixer", "MnemosBlock"]
