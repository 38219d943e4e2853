"""Muon: momentum, then the nearest semi-orthogonal matrix, so that rare directions step as far as frequent ones.

Papers: Keller Jordan, "Muon" (2024), whose semantics are followed here; Muon Outperforms Adam in Tail-End
Associative Memory Learning (arXiv:2509.26030) for why, and for where it pays: value, output and feed-forward.
A gradient of facts is Σ c_k ẽ_k e_kᵀ with c_k ∝ frequency; UVᵀ gives each fact the same step.
Structure: weight matrices as linear associative memories. Objective: the network's own loss.
Retention: decoupled weight decay. Rule: momentum, then UVᵀ.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, get_args, overload

import torch
from torch import Tensor, nn

from mnemos.core.catalogue import system
from mnemos.core.errors import InvalidInput
from mnemos.core.spec import Spec
from mnemos.state.ops.newton_schulz import MUON, newton_schulz, orthogonalise

Targets = Literal["all", "vo_ffn", "vo", "ffn", "qk", "none"]
Scale = Literal["sqrt_ratio", "match_adam_rms"]
Rule = Literal["muon", "adamw"]
Split = tuple[int, int | Sequence[int]]
"""(axis, how many equal parts, or the size of each): the blocks of a fused matrix."""

ADAMW_LR = 3e-4


@system(
    "muon_tail",
    title="Muon on the tail",
    paper="arXiv:2509.26030",
    year=2025,
    wing="learn",
    choices=Spec(
        structure="weight matrices as linear associative memories, W = Σ e_out e_inᵀ",
        objective="the network's own loss: cross-entropy over facts",
        retention="decoupled weight decay",
        rule="momentum, then the nearest semi-orthogonal matrix",
    ),
    claim="When frequent facts are learned, Muon has learned the rare ones too, whatever the embedding; Adam has not.",
)
class Muon(torch.optim.Optimizer):
    """Muon for matrices and AdamW for everything else, in one optimiser.

        optimiser = Muon(muon_groups(model))

    Each group may set any argument below for itself. A parameter without a gradient is left alone. State: one
    buffer of the weight's size under "muon", two under "adamw". Cost of a step over that of the gradient: five
    times 2·m²n + m³ multiply-adds per matrix, m its smaller side.

    Args:
        params: parameters, or groups of them as of `muon_groups`. Under "muon" a 2-D weight is a matrix, a 3-D
            weight a batch of matrices (experts), a 4-D or 5-D weight a convolution's [out, everything else].
        lr: step in units of the spectral norm ("sqrt_ratio"), or Adam's ("match_adam_rms"). A group under
            "adamw" takes 3e-4 if it sets none itself.
        momentum: μ of the moving average B ← μB + (1-μ)G. It is an average, not a sum.
        nesterov: orthogonalise (1-μ)G + μB in place of B.
        ns_steps, coefficients: of `newton_schulz`, in bfloat16 on a GPU.
        exact: UVᵀ by SVD in place of Newton-Schulz; slow, for theory.
        scale: "sqrt_ratio" multiplies the update by √max(1, rows/cols); "match_adam_rms" by 0.2·√max(rows, cols),
            so that lr and weight decay of Adam carry over (Moonshot, 2025).
        split: (axis, parts) of weights that hold several matrices, each of which is orthogonalised by itself:
            (0, 3) for fused q, k, v of equal size, (0, heads) per head, (1, heads) for the output's heads.
        conv1d: 3-D weights are nn.Conv1d's [out, in, width].
        weight_decay: decoupled, W ← (1 - lr·wd)W. A group under "adamw" takes 0 if it sets none itself.
        rule: "muon" or "adamw".
        betas, eps: of AdamW.

    Raises:
        InvalidInput: a setting out of range or unknown, or a parameter of fewer than two axes under "muon".
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.02,
        *,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_steps: int = 5,
        coefficients: tuple[float, float, float] = MUON,
        exact: bool = False,
        scale: Scale = "sqrt_ratio",
        split: Split | None = None,
        conv1d: bool = False,
        weight_decay: float = 0.0,
        rule: Rule = "muon",
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-10,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_steps": ns_steps,
            "coefficients": coefficients,
            "exact": exact,
            "scale": scale,
            "split": split,
            "conv1d": conv1d,
            "weight_decay": weight_decay,
            "rule": rule,
            "betas": betas,
            "eps": eps,
        }
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with settings of their own. Raises as the class does."""
        if isinstance(param_group, Mapping):
            param_group = dict(param_group)
            if unknown := param_group.keys() - self.defaults.keys() - {"params", "param_names", "initial_lr"}:
                raise InvalidInput(f"a group sets {min(unknown)!r}: Muon knows {', '.join(self.defaults)}")
            if param_group.get("rule", self.defaults["rule"]) == "adamw" != self.defaults["rule"]:
                param_group = {"lr": ADAMW_LR, "weight_decay": 0.0} | param_group
        super().add_param_group(param_group)
        try:
            _check(self.param_groups[-1])
        except InvalidInput:
            del self.param_groups[-1]
            raise

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step from the gradients at hand; returns the closure's loss if there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            rule = _muon if group["rule"] == "muon" else _adamw
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                if weight.grad.is_sparse:
                    raise InvalidInput(f"a sparse gradient of {list(weight.shape)}: make the layer with sparse=False")
                rule(weight, weight.grad, self.state[weight], group)
        return loss


def muon_groups(
    model: nn.Module,
    targets: Targets = "all",
    *,
    lr: float = 0.02,
    adamw_lr: float = ADAMW_LR,
    weight_decay: float = 0.0,
    heads: int | None = None,
) -> list[dict[str, Any]]:
    """Sort a model's parameters for `Muon`; each group lists (name, parameter).

    Under AdamW whatever the targets: embeddings (nn.Embedding, and parameters named embed, pos, token, persist...),
    the output head (named lm_head, head, unembed, embed_out or classifier, or tied to an embedding), depthwise
    convolutions, and all that is no matrix of at least two rows and columns. Of the other weights, laid out
    [out, in], `targets` go under Muon, told by the words of their names: ffn (mlp, ffn, fc1, w1, up, gate, ...),
    qk (q, k, wq, query, ...), vo (v, o, wv, out, value, ...).

    A fused q, k, v (named qkv, in_proj_weight or c_attn, or with its sizes in the `split` of the module around
    it) is split, so that each is orthogonalised by itself.

    Args:
        targets: "vo_ffn" has nearly the whole gain of "all"; q and k bring little (arXiv:2509.26030, ablation).
        lr, adamw_lr: of the two kinds of group.
        weight_decay: of the Muon groups.
        heads: orthogonalise q, k, v and o head by head.

    Raises:
        InvalidInput: unknown targets, no weight that answers to them, a fused matrix of which only a part is
            wanted, or one that `heads` does not divide.
    """
    if targets not in get_args(Targets):
        raise InvalidInput(f"targets {targets!r}: one of {', '.join(get_args(Targets))}")
    plain: list[tuple[str, nn.Parameter]] = []
    chosen: dict[tuple[Split | None, bool], list[tuple[str, nn.Parameter]]] = {}
    outer = _outer_weights(model)
    for name, weight in model.named_parameters():
        if not weight.requires_grad:
            continue
        module = model.get_submodule(name.rpartition(".")[0])
        if weight in outer or targets == "none" or not _is_hidden_matrix(name, weight, module):
            plain.append((name, weight))
            continue
        fused = _fused(name, weight, model)
        part = "fused" if fused else _component(name)
        if part == "fused" and targets not in ("all", "ffn"):
            raise InvalidInput(f"{name} fuses q, k and v, of which {targets!r} wants a part: use targets='all'")
        if targets != "all" and part not in targets.split("_"):
            plain.append((name, weight))
            continue
        split = _head_split(name, weight, part, fused, heads) if heads else fused
        chosen.setdefault((split, isinstance(module, nn.Conv1d)), []).append((name, weight))
    if targets != "none" and not chosen:
        raise InvalidInput(f"no weight of the model answers to {targets!r}: use 'all', or give Muon groups of your own")
    groups: list[dict[str, Any]] = [
        {"params": some, "rule": "muon", "lr": lr, "weight_decay": weight_decay, "split": split, "conv1d": conv1d}
        for (split, conv1d), some in chosen.items()
    ]
    return groups + ([{"params": plain, "rule": "adamw", "lr": adamw_lr}] if plain else [])


def _muon(weight: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    if not state:
        state["momentum_buffer"] = torch.zeros_like(weight)
    mu = group["momentum"]
    buffer = state["momentum_buffer"].lerp_(grad, 1 - mu)
    update = grad.lerp(buffer, mu) if group["nesterov"] else buffer  # the reference writes into grad; we do not
    if weight.ndim > 3 or group["conv1d"]:
        update = update.flatten(1)
    weight.mul_(1 - group["lr"] * group["weight_decay"])
    weight.add_(_balanced(update, group).reshape(weight.shape), alpha=-group["lr"])


def _balanced(update: Tensor, group: dict[str, Any]) -> Tensor:
    """The update's matrices, block by block where they are fused: orthogonal, and scaled."""
    if group["split"] is not None:
        axis, parts = group["split"]
        axis += update.ndim - 2  # counted within the matrix
        sizes = [update.shape[axis] // parts] * parts if isinstance(parts, int) else list(parts)
        blocks: Any = update.split(sizes, axis)
        whole = {**group, "split": None}
        if len(set(sizes)) == 1:
            return torch.cat(_balanced(torch.stack(blocks), whole).unbind(), axis)
        return torch.cat([_balanced(block, whole) for block in blocks], axis)
    if group["exact"]:
        balanced = orthogonalise(update)
    else:
        low = update.bfloat16() if update.is_cuda else update
        balanced = newton_schulz(low, group["ns_steps"], tuple(group["coefficients"])).to(update.dtype)
    rows, columns = update.shape[-2:]
    if group["scale"] == "match_adam_rms":
        return balanced * (0.2 * math.sqrt(max(rows, columns)))
    return balanced * math.sqrt(max(1.0, rows / columns))


def _adamw(weight: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    if not state:
        state.update(step=0, exp_avg=torch.zeros_like(weight), exp_avg_sq=torch.zeros_like(weight))
    state["step"] += 1
    slow, fast = group["betas"]
    mean = state["exp_avg"].lerp_(grad, 1 - slow)
    square = state["exp_avg_sq"].lerp_(grad.square(), 1 - fast)
    root = (square / (1 - fast ** state["step"])).sqrt_().add_(group["eps"])
    weight.mul_(1 - group["lr"] * group["weight_decay"])
    weight.addcdiv_(mean, root, value=-group["lr"] / (1 - slow ** state["step"]))


def _check(group: dict[str, Any]) -> None:
    for name, choices in (("rule", get_args(Rule)), ("scale", get_args(Scale))):
        if group[name] not in choices:
            raise InvalidInput(f"{name} {group[name]!r}: one of {', '.join(choices)}")
    for name, good in (
        ("lr", group["lr"] >= 0),
        ("weight_decay", group["weight_decay"] >= 0),
        ("momentum", 0 <= group["momentum"] < 1),
        ("ns_steps", group["ns_steps"] >= 1),
        ("coefficients", len(group["coefficients"]) == 3),
        ("betas", all(0 <= beta < 1 for beta in group["betas"])),
        ("eps", group["eps"] >= 0),
    ):
        if not good:
            raise InvalidInput(f"{name} = {group[name]} is out of range: see the arguments of Muon")
    if group["rule"] == "adamw":
        return
    for weight in group["params"]:
        if weight.ndim < 2:
            raise InvalidInput(f"Muon takes matrices, and this has shape {list(weight.shape)}: use rule='adamw'")
        if group["split"] is not None:
            _check_split(weight, group)


def _check_split(weight: Tensor, group: dict[str, Any]) -> None:
    axis, parts = group["split"]
    shape = weight.flatten(1).shape if weight.ndim > 3 or group["conv1d"] else weight.shape[-2:]
    good = axis in (0, 1) and (
        parts >= 1 and shape[axis] % parts == 0
        if isinstance(parts, int)
        else min(parts) >= 1 and sum(parts) == shape[axis]
    )
    if not good:
        raise InvalidInput(f"split {group['split']} does not cut {list(shape)}: give (0 or 1, parts or their sizes)")


_HEADS = {"lm_head", "head", "unembed", "embed_out", "classifier"}
_TABLE = re.compile(r"(^|_)(embed|pos|token|persist)")
_FFN = {"mlp", "ffn", "ff", "feed", "fc1", "fc2", "fc", "w1", "w2", "w3", "up", "down", "gate", "intermediate"}
_QK = {"q", "k", "wq", "wk", "query", "key", "queries", "keys"}
_VO = {"v", "o", "wv", "wo", "value", "values", "out", "output"}
_FUSED = {"qkv", "wqkv", "kqv"}


def _words(name: str) -> set[str]:
    return set(re.split(r"[._]", name.lower()))


def _component(name: str) -> str:
    words = _words(name)
    return next((part for part, known in (("ffn", _FFN), ("qk", _QK), ("vo", _VO)) if words & known), "other")


def _outer_weights(model: nn.Module) -> set[nn.Parameter]:
    """Those of embeddings; a tied head is the same parameter."""
    tables = (nn.Embedding, nn.EmbeddingBag)
    return {weight for module in model.modules() if isinstance(module, tables) for weight in module.parameters(False)}


def _is_hidden_matrix(name: str, weight: nn.Parameter, module: nn.Module) -> bool:
    """Whether it maps features to features, rather than listing vectors or naming outputs."""
    if weight.ndim < 2 or set(name.split(".")) & _HEADS or _TABLE.search(name.rpartition(".")[2]):
        return False
    if "conv" in type(module).__name__.lower():
        groups = getattr(module, "groups", None)
        if groups is None or groups > 1:  # each channel has a filter of its own: a list of vectors
            return False
    flat = weight.flatten(1) if weight.ndim > 3 or isinstance(module, nn.Conv1d) else weight
    return min(flat.shape[-2:]) > 1


def _fused(name: str, weight: nn.Parameter, model: nn.Module) -> Split | None:
    """How a matrix that holds q, k and v is cut, None if it does not."""
    layer = name.rpartition(".")[0]
    sizes = getattr(model.get_submodule(layer.rpartition(".")[0]), "split", None)
    if isinstance(sizes, tuple) and all(isinstance(size, int) for size in sizes) and sum(sizes) == weight.shape[0]:
        return 0, sizes
    if not (_words(name) & _FUSED or name.endswith("in_proj_weight") or "c_attn" in name):
        return None
    rows, columns = weight.shape
    if rows == 3 * columns:
        return 0, 3
    if columns == 3 * rows:  # GPT-2 keeps its weights transposed
        return 1, 3
    raise InvalidInput(f"{name} of shape {rows} x {columns} fuses q, k and v of unknown sizes: give Muon a split")


def _head_split(name: str, weight: nn.Parameter, part: str, fused: Split | None, heads: int) -> Split | None:
    if fused is not None:
        axis, parts = fused
        sizes = [weight.shape[axis] // parts] * parts if isinstance(parts, int) else list(parts)
    elif part in ("qk", "vo"):
        axis = int(bool(_words(name) & {"o", "wo", "out", "output"}))
        sizes = [weight.shape[axis]]
    else:
        return None
    if any(size % heads for size in sizes):
        raise InvalidInput(f"{heads} heads do not divide {name}, {list(weight.shape)}: leave heads out")
    return axis, tuple(size // heads for size in sizes for _ in range(heads))
