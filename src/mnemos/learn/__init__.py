"""How memories are trained: optimisers, and the measures that tell whether they did well.

Names load on first use; the package needs torch.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from mnemos.core.errors import MissingExtra

if find_spec("torch") is None:
    raise MissingExtra("mnemos.learn", "neural")

if TYPE_CHECKING:
    from mnemos.learn.muon import Muon, muon_groups
    from mnemos.learn.spectrum import Isotropy, isotropy
    from mnemos.learn.tail import balance_bench
    from mnemos.state.ops.newton_schulz import newton_schulz, orthogonalise

_HOMES = {
    "Isotropy": "mnemos.learn.spectrum",
    "Muon": "mnemos.learn.muon",
    "balance_bench": "mnemos.learn.tail",
    "isotropy": "mnemos.learn.spectrum",
    "muon_groups": "mnemos.learn.muon",
    "newton_schulz": "mnemos.state.ops.newton_schulz",
    "orthogonalise": "mnemos.state.ops.newton_schulz",
}

__all__ = ["Isotropy", "Muon", "balance_bench", "isotropy", "muon_groups", "newton_schulz", "orthogonalise"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'mnemos.learn' has no attribute {name!r}: there are {', '.join(__all__)}")
