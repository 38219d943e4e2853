"""Operators under `torch.compile`: each is called whole, not traced."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


def whole(run: Callable[P, R]) -> Callable[P, R]:
    """`run`, which compiled code calls as it is.

    Traced, a loop over chunks is unrolled into graphs of thousands of nodes, which checks of values break apart: a
    layer of Titans (T 1024, D 256) took 88 s to compile and then 2.4 times as long for a step. An operator is mostly
    products of matrices, where a compiler wins little: with the steps inside Titans' compiled, a layer took .92 of its
    time.
    """
    apart = torch.compiler.disable(run)

    @wraps(run)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return (apart if torch.compiler.is_compiling() else run)(*args, **kwargs)

    return call
