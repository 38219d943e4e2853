"""Known models, composed from parts: what each of them chose, and how its own gates are called here.

    memory, gates = known("gated_deltanet", heads=4, key_dim=32)
    o, state = memory.scan(memory.init(batch), q, k, v, gates(g=g, beta=beta))

Gates carry the names of the models' own papers and of flash-linear-attention: g is a log decay, beta the strength of a
delta rule. Projections, convolutions and norms around the memory are the mixers' matter.

Source: MIRAS, table 1, with each row's recurrence as the model itself states it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from mnemos.core.errors import NotFound
from mnemos.state.gates import Gates
from mnemos.state.memory import Memory
from mnemos.state.objective import L2, Dot, HuberMixture, Lp, Objective
from mnemos.state.retention import Decay, KLSimplex, Lq, NoRetention, Retention, Sphere
from mnemos.state.rule import ClosedForm, GradientDescent, Implicit, Momentum, MultiStep, NonParametric, Rule
from mnemos.state.structure import MLP, GatedMLP, Matrix, Pairs, Structure


class Model(NamedTuple):
    """Four choices, and the way from a model's own gates to ours."""

    structure: Structure
    objective: Objective
    retention: Retention
    rule: Rule
    gates: Callable[..., Gates]


def known(
    name: str, *, heads: int = 1, key_dim: int = 64, value_dim: int | None = None, chunk: int = 1
) -> tuple[Memory, Callable[..., Gates]]:
    """A memory by the name of its model, and the function that makes its gates.

    Args:
        name: a key of `KNOWN`.
        heads: H.
        key_dim: K.
        value_dim: V; K if None.
        chunk: as in `Memory`; deep memories train with 16 to 64.

    Raises:
        NotFound: no such model; says which there are.
    """
    if name not in KNOWN:
        raise NotFound(f"no known model is called {name!r}: there are {', '.join(sorted(KNOWN))}")
    structure, objective, retention, rule, gates = KNOWN[name]
    memory = Memory(
        structure, objective, retention, rule, heads=heads, key_dim=key_dim, value_dim=value_dim, chunk=chunk
    )
    return memory, gates


def _none() -> Gates:
    return Gates()


def _fixed_decay(like: Tensor) -> Gates:
    """RetNet: head h keeps 1 - 2^(-5-h), for tokens of `like` [B, T, H, ...]."""
    heads = torch.arange(like.shape[2], dtype=like.dtype, device=like.device)
    return Gates(log_keep=torch.log1p(-(2 ** (-5 - heads))).expand(like.shape[:3]))


def _decay(g: Tensor) -> Gates:
    """g [B, T, H], or [B, T, H, K] per key channel."""
    return Gates(log_keep=g)


def _outer_decay(g_key: Tensor, g_value: Tensor) -> Gates:
    """Decays fast weights by beta alpha^T: g_key [B, T, H, K], g_value [B, T, H, V]."""
    return Gates(log_keep=g_key[..., :, None] + g_value[..., None, :])


def _mamba2(g: Tensor, dt: Tensor) -> Gates:
    """g [B, T, H] and the discretisation step dt [B, T, H], which scales the write."""
    return Gates(log_keep=g, step=dt)


def _delta(beta: Tensor) -> Gates:
    """beta [B, T, H]; l2's gradient has a factor of 2."""
    return Gates(step=beta / 2)


def _gated_delta(g: Tensor, beta: Tensor) -> Gates:
    """g [B, T, H] and beta [B, T, H], or [B, n T, H] for n steps per token."""
    return Gates(log_keep=g, step=beta / 2)


def _step(eta: Tensor) -> Gates:
    """Step size eta [B, T, H]."""
    return Gates(step=eta)


def _decay_and_step(g: Tensor, eta: Tensor) -> Gates:
    """g [B, T, H]; eta [B, T, H], or [B, T, H, c] for a window."""
    return Gates(log_keep=g, step=eta)


def _yaad(g: Tensor, eta: Tensor, delta: Tensor) -> Gates:
    """g, eta and the threshold delta, [B, T, H]."""
    return Gates(log_keep=g, step=eta, delta=delta)


def _removal(g: Tensor, removal: Tensor, a: Tensor) -> Gates:
    """RWKV-7: g [B, T, H, K], the unit key to remove and the share a of it to remove per channel, [B, T, H, K]."""
    return Gates(log_keep=g, erase=removal, erase_step=a)


def _surprise(g: Tensor, log_mu: Tensor, theta: Tensor) -> Gates:
    """Titans: log decay g, log momentum log_mu, step theta, [B, T, H]; theta [B, T, H, c] for a window."""
    return Gates(log_keep=g, log_momentum=log_mu, step=theta)


def _muon(g: Tensor, log_mu: Tensor, gamma: Tensor, eta: Tensor) -> Gates:
    """ATLAS: log decay g, log momentum log_mu, weights gamma [B, T, H, c] in the window, step eta [B, T, H]."""
    return Gates(log_keep=g, log_momentum=log_mu, step=gamma, rate=eta)


KNOWN: dict[str, Model] = {
    # all pairs
    "softmax_attention": Model(Pairs(), L2(), NoRetention(), NonParametric(), _none),
    "sliding_window": Model(Pairs(), L2(), NoRetention(), NonParametric(window=64), _none),
    # Hebbian
    "linear_attention": Model(Matrix(), Dot(), NoRetention(), GradientDescent(step=1.0), _none),
    "retnet": Model(Matrix(), Dot(), Decay(), GradientDescent(step=1.0), _fixed_decay),
    "decaying_fast_weights": Model(Matrix(), Dot(), Decay(), GradientDescent(step=1.0), _outer_decay),
    "mamba2": Model(Matrix(), Dot(), Decay(), GradientDescent(step=1.0), _mamba2),
    "gla": Model(Matrix(), Dot(), Decay(), GradientDescent(step=1.0), _decay),
    "hgrn2": Model(Matrix(), Dot(), Decay(), GradientDescent(step=1.0), _decay),  # with keys 1 - exp(g)
    "swla": Model(Matrix(), Dot(), Decay(), GradientDescent(window=8), _decay_and_step),
    "rwkv7": Model(Matrix(), Dot(), Decay(), GradientDescent(step=1.0), _removal),
    # error-correcting
    "deltanet": Model(Matrix(), L2(), NoRetention(), GradientDescent(), _delta),
    "gated_deltanet": Model(Matrix(), L2(), Decay(), GradientDescent(decay_first=True), _gated_delta),
    "deltaproduct": Model(Matrix(), L2(), Decay(), MultiStep(steps=2), _gated_delta),
    "longhorn": Model(Matrix(), L2(), NoRetention(), Implicit(), lambda beta: Gates(step=beta)),
    "mesa": Model(Matrix(), L2(), NoRetention(), ClosedForm(), _none),
    "lattice": Model(Matrix(), L2(), Sphere(), GradientDescent(), _delta),
    # deep
    "ttt_linear": Model(MLP(depth=1), L2(), NoRetention(), GradientDescent(), _step),
    "ttt_mlp": Model(MLP(depth=2), L2(), NoRetention(), GradientDescent(), _step),
    "titans": Model(MLP(depth=2), L2(), Decay(), Momentum(), _surprise),
    "moneta": Model(MLP(depth=2), Lp(p=3), Lq(q=4), GradientDescent(), _decay_and_step),
    "yaad": Model(MLP(depth=2), HuberMixture(), Decay(), GradientDescent(), _yaad),
    "memora": Model(MLP(depth=2), L2(), KLSimplex(), GradientDescent(), _decay_and_step),
    # a window of tokens
    "omeganet": Model(MLP(norm=False), L2(), Decay(), GradientDescent(window=8), _decay_and_step),
    "atlas": Model(MLP(norm=False), L2(), Decay(), Momentum(window=8, orthogonalise=True), _muon),
    "atlas++": Model(GatedMLP(), L2(), Decay(), Momentum(window=8, orthogonalise=True), _muon),
}
"""Name to choices. Where a paper gives no constant (a window) it is ours; with another one compose a `Memory`."""
