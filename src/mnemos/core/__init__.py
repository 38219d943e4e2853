"""The ground floor: the verbs, the choices, the catalogue, errors, time and ids."""

from mnemos.core.catalogue import Claim, System, catalogue, get_system, system
from mnemos.core.clock import Clock, FixedClock, SystemClock, iso, parse_time
from mnemos.core.ids import IdGenerator
from mnemos.core.spec import Spec

__all__ = [
    "Claim",
    "Clock",
    "FixedClock",
    "IdGenerator",
    "Spec",
    "System",
    "SystemClock",
    "catalogue",
    "get_system",
    "iso",
    "parse_time",
    "system",
]
