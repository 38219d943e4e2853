"""How much an associative matrix holds, and how well: the calculators of the conditioning view of linear attention.

A write S <- S + k v^T pairs a cue (key) with an outcome (value); a read S^T q is the response to a probe (query). With
N unit keys at random in K dimensions the response to a stored cue is its outcome plus noise of relative power
nu = (N - 1) / K, so that its cosine to the outcome is (1 + nu)^(-1/2).

"Capacity" means nothing without a criterion. Here it is the mean cosine; read-out by the nearest of the stored values
holds far more pairs, an exact read by any linear rule at most K. None of it is about softmax attention.

Source: Pavlovian conditioning view of transformers, 2025 (arXiv 2508.08289; its capacity O(d_k)). The constants, the
chain and the discrete version are derived here.
"""

from __future__ import annotations

import math

from torch import Tensor

from mnemos.core.errors import InvalidInput


def capacity(d_k: int, cosine: float, heads: int = 1, layers: int = 1) -> float:
    """Pairs N that random unit keys hold at a mean cosine: N = 1 + heads d_k (cosine^(-2 / layers) - 1).

    Args:
        d_k: width K of the keys.
        cosine: wanted mean cosine of a response to its true value, in (0, 1].
        heads: codes of the same pairs, independent and averaged.
        layers: associations in a chain, normalised in between.

    Raises:
        InvalidInput: a count below 1, or a cosine outside (0, 1].
    """
    _at_least_one(d_k=d_k, heads=heads, layers=layers)
    if not 0 < cosine <= 1:
        raise InvalidInput(f"cosine = {cosine}: give what the response should reach, above 0 and at most 1")
    return 1 + heads * d_k * math.expm1(-2 / layers * math.log(cosine))


def fidelity(pairs: float, d_k: int, heads: int = 1, layers: int = 1) -> float:
    """Mean cosine that `pairs` random unit keys leave: (1 + (pairs - 1) / (heads d_k))^(-layers / 2).

    Depth costs exponentially, width and heads help linearly. Measured within 5 % up to 4 layers and 10 % at 8. The
    inverse of `capacity`, whose arguments it shares.

    Raises:
        InvalidInput: a count below 1.
    """
    _at_least_one(pairs=pairs, d_k=d_k, heads=heads, layers=layers)
    return math.exp(-layers / 2 * math.log1p((pairs - 1) / (heads * d_k)))


def interference(keys: Tensor) -> Tensor:
    """Noise-to-signal power of each stored key's read: nu_j = sum_{i != j} (k_i . k_j)^2 / |k_j|^4.

    Exact in the mean over independent values of equal norm, for any keys; (N - 1) / K for random ones. Keys that share
    a component interfere by a constant, which no width averages out.

    Args:
        keys: [..., N, K], none of them zero.

    Returns:
        [..., N].

    Raises:
        InvalidInput: fewer than two axes, or integers.
    """
    gram = _gram(keys)
    own = gram.diagonal(dim1=-2, dim2=-1).square()
    return gram.square().sum(-1) / own - 1


def coherence(keys: Tensor) -> Tensor:
    """max_{i != j} |k_i . k_j| of unit keys: no read is off by more than (N - 1) times that, times |v|.

    Args:
        keys: [..., N, K], at least two.

    Returns:
        [...].

    Raises:
        InvalidInput: fewer than two keys, or integers.
    """
    gram = _gram(keys)
    if gram.shape[-1] < 2:
        raise InvalidInput("one key alone meets no other: give at least two")
    alike: Tensor = (gram - gram.diagonal(dim1=-2, dim2=-1).diag_embed()).abs().amax((-2, -1))
    return alike


def decayed_interference(d_k: int, keep: float, age: int = 0, pairs: int | None = None) -> float:
    """nu of the pair written `age` writes ago into a trace that keeps a share `keep` per write.

    nu = sum_{a != age} keep^(2 a) / (d_k keep^(2 age)); of the newest pair in the long run
    keep^2 / ((1 - keep^2) d_k).

    Args:
        d_k: width K of the random unit keys.
        keep: in (0, 1); 1 needs `pairs`.
        age: writes since, 0 for the newest.
        pairs: written in all; None for endlessly many.

    Raises:
        InvalidInput: keep outside (0, 1], an endless sum, or a pair older than the first.
    """
    _at_least_one(d_k=d_k)
    if not 0 < keep <= 1 or (keep == 1 and pairs is None):
        raise InvalidInput(f"keep = {keep}, pairs = {pairs}: give a keep in (0, 1), or 1 and a number of pairs")
    if age < 0 or (pairs is not None and age >= pairs):
        raise InvalidInput(f"age = {age}: 0 is the newest pair, {'any age' if pairs is None else pairs - 1} the oldest")
    if keep == 1 and pairs is not None:
        return (pairs - 1) / d_k
    total = (1 if pairs is None else -math.expm1(2 * pairs * math.log(keep))) / (1 - keep**2)
    return (total / keep ** (2 * age) - 1) / d_k


def chain_success(failure: float, heads: int = 1, layers: int = 1) -> float:
    """Probability that a chain of discrete reads ends right, if a read fails with probability `failure`.

    (1 - e)^layers, where e = P[Binomial(heads, failure) >= heads / 2] is a failed majority; a tie fails.

    Raises:
        InvalidInput: a count below 1, or a failure outside [0, 1].
    """
    _at_least_one(heads=heads, layers=layers)
    if not 0 <= failure <= 1:
        raise InvalidInput(f"failure = {failure} is a probability: give 0 to 1")
    most = range((heads + 1) // 2, heads + 1)
    wrong = sum(math.comb(heads, n) * failure**n * (1 - failure) ** (heads - n) for n in most)
    return max(0.0, 1 - wrong) ** layers


def heads_needed(failure: float, success: float, layers: int = 1) -> int:
    """The smallest number of voting heads whose chain of `layers` reads ends right with probability `success`.

    Grows as log(layers / (1 - success)).

    Raises:
        InvalidInput: a failure of 1/2 or more, which votes cannot mend, or a success outside (0, 1).
    """
    if not 0 <= failure < 0.5 or not 0 < success < 1:
        raise InvalidInput(f"failure = {failure}, success = {success}: votes need failure < 1/2, and success in (0, 1)")
    # a tie fails, so that an even number of votes does no better than the odd one before it
    heads = 1
    while chain_success(failure, heads, layers) < success:
        heads += 2
    return heads


def _gram(keys: Tensor) -> Tensor:
    if keys.ndim < 2 or not keys.is_floating_point():
        raise InvalidInput(f"keys are {keys.dtype} {list(keys.shape)}: give floating point [..., N, K]")
    return keys @ keys.mT


def _at_least_one(**counts: float) -> None:
    for name, count in counts.items():
        if not count >= 1:
            raise InvalidInput(f"{name} = {count}: give at least 1")
