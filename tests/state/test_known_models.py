"""Each known model, composed from parts, against its own recurrence written out for one row and head at a time."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mnemos.core.errors import NotFound
from mnemos.state.gates import Gates
from mnemos.state.known import KNOWN, known
from mnemos.state.memory import Memory
from mnemos.state.objective import L2
from mnemos.state.retention import Decay
from mnemos.state.rule import GradientDescent
from mnemos.state.structure import Matrix

B, T, H, K, V = 2, 7, 2, 4, 4
CLOSE = {"atol": 1e-10, "rtol": 1e-10}


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def unit(seed: int, *shape: int) -> Tensor:
    return F.normalize(draw(seed, *shape), dim=-1)


def gate(seed: int, *shape: int) -> Tensor:
    return draw(seed, *shape).sigmoid()


def composed(name: str, q: Tensor, k: Tensor, v: Tensor, **gates: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Outputs and the first weights (which the recurrences start from)."""
    torch.manual_seed(1)
    memory, make = known(name, heads=H, key_dim=K, value_dim=V)
    memory = memory.double()
    with torch.no_grad():
        for weight in memory.weights:
            weight.add_(0.3 * torch.randn_like(weight))
        o, _ = memory.scan(memory.init(B), q, k, v, make(**gates))
    return o, [w.detach() for w in memory.weights]


def by_row(step: Callable[..., tuple[Tensor, Tensor]], q: Tensor, *per_token: Tensor, start: Tensor) -> Tensor:
    """Runs (W, q_t, tokens_t...) -> (W, o_t) on every row and head; W is [V, K], the transpose of our state."""
    o = torch.empty(B, T, H, V, dtype=torch.float64)
    for b in range(B):
        for h in range(H):
            w = start[h].mT
            for t in range(T):
                w, o[b, t, h] = step(w, q[b, t, h], *(x[b, t, h] for x in per_token))
    return o


def qkv() -> tuple[Tensor, Tensor, Tensor]:
    return unit(0, B, T, H, K), unit(1, B, T, H, K), draw(2, B, T, H, V)


def outer(a: Tensor, b: Tensor) -> Tensor:
    return a[:, None] * b[None, :]


def test_softmax_attention() -> None:
    q, k, v = qkv()
    o, _ = composed("softmax_attention", q, k, v)
    for t in range(T):
        weights = torch.einsum("bhk,bshk->bhs", q[:, t], k[:, : t + 1]).div(K**0.5).exp()
        mean = torch.einsum("bhs,bshv->bhv", weights, v[:, : t + 1]) / weights.sum(-1, keepdim=True)
        torch.testing.assert_close(o[:, t], mean, **CLOSE)


def test_linear_attention() -> None:
    q, k, v = qkv()
    o, (start,) = composed("linear_attention", q, k, v)

    def step(w: Tensor, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        w = w + outer(v, k)
        return w, w @ q

    torch.testing.assert_close(o, by_row(step, q, k, v, start=start), **CLOSE)


def test_retnet_decays_each_head_at_its_own_fixed_rate() -> None:
    q, k, v = qkv()
    o, (start,) = composed("retnet", q, k, v, like=k)
    gamma = (1 - 2.0 ** (-5 - torch.arange(H, dtype=torch.float64))).expand(B, T, H)

    def step(w: Tensor, q: Tensor, k: Tensor, v: Tensor, gamma: Tensor) -> tuple[Tensor, Tensor]:
        w = gamma * w + outer(v, k)
        return w, w @ q

    torch.testing.assert_close(o, by_row(step, q, k, v, gamma, start=start), **CLOSE)


def test_decaying_fast_weights() -> None:
    q, k, v = qkv()
    alpha, beta = gate(3, B, T, H, K), gate(4, B, T, H, V)
    o, (start,) = composed("decaying_fast_weights", q, k, v, g_key=alpha.log(), g_value=beta.log())

    def step(w: Tensor, q: Tensor, k: Tensor, v: Tensor, alpha: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
        w = outer(beta, alpha) * w + outer(v, k)
        return w, w @ q

    torch.testing.assert_close(o, by_row(step, q, k, v, alpha, beta, start=start), **CLOSE)


def test_mamba2() -> None:
    q, k, v = qkv()
    alpha, dt = gate(3, B, T, H), F.softplus(draw(4, B, T, H))
    o, (start,) = composed("mamba2", q, k, v, g=alpha.log(), dt=dt)

    def step(w: Tensor, q: Tensor, k: Tensor, v: Tensor, alpha: Tensor, dt: Tensor) -> tuple[Tensor, Tensor]:
        w = alpha * w + outer(dt * v, k)
        return w, w @ q

    torch.testing.assert_close(o, by_row(step, q, k, v, alpha, dt, start=start), **CLOSE)


def test_gla() -> None:
    q, k, v = qkv()
    alpha = gate(3, B, T, H, K)
    o, (start,) = composed("gla", q, k, v, g=alpha.log())

    def step(w: Tensor, q: Tensor, k: Tensor, v: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
        w = w @ torch.diag(alpha) + outer(v, k)
        return w, w @ q

    torch.testing.assert_close(o, by_row(step, q, k, v, alpha, start=start), **CLOSE)


def test_hgrn2_writes_with_what_it_forgets() -> None:
    q, _, v = qkv()
    alpha = gate(3, B, T, H, K)
    o, (start,) = composed("hgrn2", q, 1 - alpha, v, g=alpha.log())

    def step(w: Tensor, q: Tensor, v: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
        w = w @ torch.diag(alpha) + outer(v, 1 - alpha)
        return w, w @ q

    torch.testing.assert_close(o, by_row(step, q, v, alpha, start=start), **CLOSE)


def test_rwkv7_removes_with_one_key_and_writes_with_another() -> None:
    q, k, v = qkv()
    alpha, a, removal = gate(3, B, T, H, K), gate(4, B, T, H, K), unit(5, B, T, H, K)
    o, (start,) = composed("rwkv7", q, k, v, g=alpha.log(), removal=removal, a=a)

    def step(
        w: Tensor, q: Tensor, k: Tensor, v: Tensor, alpha: Tensor, removal: Tensor, a: Tensor
    ) -> tuple[Tensor, Tensor]:
        w = w @ (torch.diag(alpha) - outer(removal, a * removal)) + outer(v, k)
        return w, w @ q

    torch.testing.assert_close(o, by_row(step, q, k, v, alpha, removal, a, start=start), **CLOSE)


def test_deltanet() -> None:
    q, k, v = qkv()
    beta = gate(3, B, T, H)
    o, (start,) = composed("deltanet", q, k, v, beta=beta)

    def step(w: Tensor, q: Tensor, k: Tensor, v: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
        w = w @ (torch.eye(K).double() - beta * outer(k, k)) + beta * outer(v, k)
        return w, w @ q

    torch.testing.assert_close(o, by_row(step, q, k, v, beta, start=start), **CLOSE)


def test_gated_deltanet_decays_before_it_corrects() -> None:
    q, k, v = qkv()
    alpha, beta = gate(3, B, T, H), gate(4, B, T, H)
    o, (start,) = composed("gated_deltanet", q, k, v, g=alpha.log(), beta=beta)

    def step(w: Tensor, q: Tensor, k: Tensor, v: Tensor, alpha: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
        w = alpha * w @ (torch.eye(K).double() - beta * outer(k, k)) + beta * outer(v, k)
        return w, w @ q

    torch.testing.assert_close(o, by_row(step, q, k, v, alpha, beta, start=start), **CLOSE)


def test_deltaproduct_takes_two_householder_steps_per_token() -> None:
    n = 2
    q, k, v = unit(0, B, T, H, K), unit(1, B, n * T, H, K), draw(2, B, n * T, H, V)
    alpha, beta = gate(3, B, T, H), 2 * gate(4, B, n * T, H)
    o, (start,) = composed("deltaproduct", q, k, v, g=alpha.log(), beta=beta)

    def step(w: Tensor, q: Tensor, k: Tensor, v: Tensor, alpha: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
        eye = torch.eye(K, dtype=torch.float64)
        first, second = (eye - beta[j] * outer(k[j], k[j]) for j in range(n))
        w = alpha * w @ first @ second + beta[0] * outer(v[0], k[0]) @ second + beta[1] * outer(v[1], k[1])
        return w, w @ q

    def pairs(x: Tensor) -> Tensor:  # [B, nT, H, ...] to [B, T, H, n, ...]
        return x.unflatten(1, (T, n)).transpose(2, 3)

    torch.testing.assert_close(o, by_row(step, q, pairs(k), pairs(v), alpha, pairs(beta), start=start), **CLOSE)


def test_longhorn() -> None:
    q, k, v = qkv()
    k, beta = 3 * k, F.softplus(draw(3, B, T, H))
    o, (start,) = composed("longhorn", q, k, v, beta=beta)

    def step(w: Tensor, q: Tensor, k: Tensor, v: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
        strength = beta / (1 + beta * k.dot(k))
        w = w @ (torch.eye(K).double() - strength * outer(k, k)) + strength * outer(v, k)
        return w, w @ q

    torch.testing.assert_close(o, by_row(step, q, k, v, beta, start=start), **CLOSE)


def test_mesa_equals_recursive_least_squares_and_ridge_regression() -> None:
    q, k, v = qkv()
    o, (start,) = composed("mesa", q, k, v)
    inverse = torch.eye(K, dtype=torch.float64).expand(B, H, K, K)  # ridge 1
    s = start.expand(B, H, K, V)
    for t in range(T):
        key = k[:, t, :, :, None]
        inverse = inverse - inverse @ key @ key.mT @ inverse / (1 + key.mT @ inverse @ key)
        s = s + inverse @ key @ (v[:, t, :, None] - key.mT @ s)
        torch.testing.assert_close(o[:, t], (q[:, t, :, None] @ s)[:, :, 0], **CLOSE)
    keys, values = k[0, :, 0], v[0, :, 0] - k[0, :, 0] @ start[0]
    ridge = torch.linalg.solve(keys.mT @ keys + torch.eye(K).double(), keys.mT @ values) + start[0]
    torch.testing.assert_close(o[0, -1, 0], q[0, -1, 0] @ ridge, **CLOSE)


def test_lattice_writes_what_is_new_to_each_slot() -> None:
    q, k, v = qkv()
    beta = gate(3, B, T, H)
    o, (start,) = composed("lattice", q, k, v, beta=beta)

    def step(w: Tensor, q: Tensor, k: Tensor, v: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
        error = v - w @ k
        slots = []
        for s, strength in zip(w.mT, k, strict=True):
            s = s + beta * (torch.eye(V).double() - outer(s, s)) @ (strength * error)
            slots.append(s / s.norm())
        w = torch.stack(slots, dim=1)
        return w, w @ q

    slots = start / start.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(o, by_row(step, q, k, v, beta, start=slots), **CLOSE)


def layer_norm(u: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """u [n] normalised, and the product of a vector with the transposed Jacobian, from the definition."""
    centred = u - u.mean()
    inverse = (centred.square().mean() + 1e-5).rsqrt()
    y = centred * inverse
    return y, lambda g: inverse * (g - g.mean() - y * (g * y).mean())


def test_ttt_linear_by_hand_written_gradients() -> None:
    q, k, v = qkv()
    eta = 0.2 * gate(3, B, T, H)
    o, (start,) = composed("ttt_linear", q, k, v, eta=eta)

    def step(w: Tensor, q: Tensor, k: Tensor, v: Tensor, eta: Tensor) -> tuple[Tensor, Tensor]:
        y, back = layer_norm(w @ k)
        w = w - eta * outer(back(2 * (k + y - v)), k)
        return w, q + layer_norm(w @ q)[0]

    torch.testing.assert_close(o, by_row(step, q, k, v, eta, start=start), **CLOSE)


def normal_gelu(z: Tensor) -> tuple[Tensor, Tensor]:
    """gelu and its slope."""
    share = (1 + torch.erf(z / 2**0.5)) / 2
    return z * share, share + z * (-z.square() / 2).exp() / (2 * torch.pi) ** 0.5


@pytest.mark.parametrize("name", ["ttt_mlp", "titans"])
def test_deep_memories_by_hand_written_gradients(name: str) -> None:
    q, k, v = qkv()
    alpha, mu, theta = gate(3, B, T, H), gate(4, B, T, H), 0.2 * gate(5, B, T, H)
    if name == "titans":
        o, weights = composed(name, q, k, v, g=alpha.log(), log_mu=mu.log(), theta=theta)
    else:
        o, weights = composed(name, q, k, v, eta=theta)
        alpha, mu = torch.ones_like(alpha), torch.zeros_like(mu)
    for b in range(B):
        for h in range(H):
            w1, w2 = (w[h] for w in weights)
            s1, s2 = torch.zeros_like(w1), torch.zeros_like(w2)
            for t in range(T):
                key, value = k[b, t, h], v[b, t, h]
                hidden, slope = normal_gelu(key @ w1)
                y, back = layer_norm(hidden @ w2)
                d2 = back(2 * (key + y - value))
                d1 = (w2 @ d2) * slope
                s1 = mu[b, t, h] * s1 - theta[b, t, h] * outer(key, d1)
                s2 = mu[b, t, h] * s2 - theta[b, t, h] * outer(hidden, d2)
                w1, w2 = alpha[b, t, h] * w1 + s1, alpha[b, t, h] * w2 + s2
                query = q[b, t, h]
                expected = query + layer_norm(normal_gelu(query @ w1)[0] @ w2)[0]
                torch.testing.assert_close(o[b, t, h], expected, **CLOSE)


def test_omeganet_sums_the_gradients_of_its_window() -> None:
    """With a matrix: S_t = (alpha I - sum gamma f f^T) S_{t-1} + sum gamma f v^T."""
    q, k, v = qkv()
    c = 3
    alpha, gamma = gate(3, B, T, H), 0.3 * gate(4, B, T, H, c)
    memory = Memory(Matrix(), L2(), Decay(), GradientDescent(window=c), heads=H, key_dim=K).double()
    with torch.no_grad():
        o, _ = memory.scan(memory.init(B), q, k, v, Gates(log_keep=alpha.log(), step=gamma / 2))
    s = torch.zeros(B, H, K, V, dtype=torch.float64)
    for t in range(T):
        erased, added = torch.zeros(B, H, K, K).double(), torch.zeros_like(s)
        for j in range(min(c, t + 1)):
            weighed = gamma[:, t, :, j, None, None] * k[:, t - j, :, :, None]
            erased, added = erased + weighed @ k[:, t - j, :, None], added + weighed @ v[:, t - j, :, None]
        s = (alpha[:, t, :, None, None] * torch.eye(K).double() - erased) @ s + added
        torch.testing.assert_close(o[:, t], (q[:, t, :, None] @ s)[:, :, 0], **CLOSE)


def test_every_known_model_runs_and_an_unknown_one_is_named() -> None:
    q, k, v = qkv()
    for name, model in KNOWN.items():
        memory, _ = known(name, heads=H, key_dim=K)
        memory = memory.double()
        steps = getattr(model.rule, "steps", 1)
        o, state = memory.scan(memory.init(B), q[:, :3], k[:, : 3 * steps], v[:, : 3 * steps])
        assert o.isfinite().all(), name
        assert state.tokens == 3
    with pytest.raises(NotFound, match="'mamba': there are atlas"):
        known("mamba")
