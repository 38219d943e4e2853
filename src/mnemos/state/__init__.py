"""The state wing: memory in the activations that a sequence model carries along.

Parts of a memory (`Memory` and the four choices), and mixers, which are memories as layers: forward(x [B, T, D],
state) gives (y, state). Names load on first use; the wing needs torch. The mixer that ATLAS calls Dot shares its name
with the dot product and is `mnemos.state.mixers.atlas.Dot`.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from mnemos.core.errors import MissingExtra

if find_spec("torch") is None:
    raise MissingExtra("mnemos.state", "neural")

if TYPE_CHECKING:
    from mnemos.state.features import Polynomial
    from mnemos.state.gates import Gates
    from mnemos.state.known import known
    from mnemos.state.memory import Memory
    from mnemos.state.mixers.atlas import SWLA, Atlas, DeepTransformer, OmegaNet
    from mnemos.state.mixers.attention import SlidingWindowAttention, SoftmaxAttention
    from mnemos.state.mixers.base import Mixer
    from mnemos.state.mixers.check import check_mixer
    from mnemos.state.mixers.compose import MemoryAsContext, MemoryAsGate, MemoryAsLayer
    from mnemos.state.mixers.delta import DeltaNet, GatedDeltaNet
    from mnemos.state.mixers.linear import GLA, LinearAttention, Mamba2, RetNet
    from mnemos.state.mixers.lla import LocalLinearAttention
    from mnemos.state.mixers.miras import Memora, Moneta, Yaad
    from mnemos.state.mixers.mom import MoM
    from mnemos.state.mixers.neural_memory import MemoryMixer, NeuralMemory
    from mnemos.state.mixers.pavlovian import PavlovianAttention
    from mnemos.state.mixers.registry import make_mixer, mixer_names
    from mnemos.state.mixers.titans import Titans, TitansMAC, TitansMAG, TitansMAL
    from mnemos.state.objective import KL, L2, Dot, Huber, HuberMixture, Lp, Robust
    from mnemos.state.retention import (
        Bregman,
        Decay,
        ElasticNet,
        FDivergence,
        KLSimplex,
        Lq,
        NoRetention,
        SoftThreshold,
        Sphere,
    )
    from mnemos.state.rule import ClosedForm, GradientDescent, Implicit, Momentum, MultiStep, NonParametric
    from mnemos.state.structure import MLP, GatedMLP, Matrix, Pairs, Vector
    from mnemos.state.value import State

_HOMES = {
    "Atlas": "mixers.atlas",
    "Bregman": "retention",
    "ClosedForm": "rule",
    "Decay": "retention",
    "DeepTransformer": "mixers.atlas",
    "DeltaNet": "mixers.delta",
    "Dot": "objective",
    "ElasticNet": "retention",
    "FDivergence": "retention",
    "GLA": "mixers.linear",
    "GatedDeltaNet": "mixers.delta",
    "GatedMLP": "structure",
    "Gates": "gates",
    "GradientDescent": "rule",
    "Huber": "objective",
    "HuberMixture": "objective",
    "Implicit": "rule",
    "KL": "objective",
    "KLSimplex": "retention",
    "L2": "objective",
    "LinearAttention": "mixers.linear",
    "LocalLinearAttention": "mixers.lla",
    "Lp": "objective",
    "Lq": "retention",
    "MLP": "structure",
    "Mamba2": "mixers.linear",
    "Matrix": "structure",
    "Memora": "mixers.miras",
    "Memory": "memory",
    "MemoryAsContext": "mixers.compose",
    "MemoryAsGate": "mixers.compose",
    "MemoryAsLayer": "mixers.compose",
    "MemoryMixer": "mixers.neural_memory",
    "Mixer": "mixers.base",
    "MoM": "mixers.mom",
    "Momentum": "rule",
    "Moneta": "mixers.miras",
    "MultiStep": "rule",
    "NeuralMemory": "mixers.neural_memory",
    "NoRetention": "retention",
    "NonParametric": "rule",
    "OmegaNet": "mixers.atlas",
    "Pairs": "structure",
    "PavlovianAttention": "mixers.pavlovian",
    "Polynomial": "features",
    "RetNet": "mixers.linear",
    "Robust": "objective",
    "SWLA": "mixers.atlas",
    "SlidingWindowAttention": "mixers.attention",
    "SoftThreshold": "retention",
    "SoftmaxAttention": "mixers.attention",
    "Sphere": "retention",
    "State": "value",
    "Titans": "mixers.titans",
    "TitansMAC": "mixers.titans",
    "TitansMAG": "mixers.titans",
    "TitansMAL": "mixers.titans",
    "Vector": "structure",
    "Yaad": "mixers.miras",
    "check_mixer": "mixers.check",
    "known": "known",
    "make_mixer": "mixers.registry",
    "mixer_names": "mixers.registry",
}
"""Name to the module that defines it."""

__all__ = [
    "GLA",
    "KL",
    "L2",
    "MLP",
    "SWLA",
    "Atlas",
    "Bregman",
    "ClosedForm",
    "Decay",
    "DeepTransformer",
    "DeltaNet",
    "Dot",
    "ElasticNet",
    "FDivergence",
    "GatedDeltaNet",
    "GatedMLP",
    "Gates",
    "GradientDescent",
    "Huber",
    "HuberMixture",
    "Implicit",
    "KLSimplex",
    "LinearAttention",
    "LocalLinearAttention",
    "Lp",
    "Lq",
    "Mamba2",
    "Matrix",
    "Memora",
    "Memory",
    "MemoryAsContext",
    "MemoryAsGate",
    "MemoryAsLayer",
    "MemoryMixer",
    "Mixer",
    "MoM",
    "Momentum",
    "Moneta",
    "MultiStep",
    "NeuralMemory",
    "NoRetention",
    "NonParametric",
    "OmegaNet",
    "Pairs",
    "PavlovianAttention",
    "Polynomial",
    "RetNet",
    "Robust",
    "SlidingWindowAttention",
    "SoftThreshold",
    "SoftmaxAttention",
    "Sphere",
    "State",
    "Titans",
    "TitansMAC",
    "TitansMAG",
    "TitansMAL",
    "Vector",
    "Yaad",
    "check_mixer",
    "known",
    "make_mixer",
    "mixer_names",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"mnemos.state.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'mnemos.state' has no attribute {name!r}: there are {', '.join(__all__)}")
