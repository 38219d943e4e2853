"""Mixers by name: `make_mixer("titans-mac", dim=256, heads=4)`. A mixer's file is imported when it is asked for."""

from __future__ import annotations

import inspect
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from mnemos.core.errors import InvalidInput, NotFound
from mnemos.state.mixers.base import Mixer

_HOMES: dict[str, tuple[str, dict[str, Any]]] = {
    "attention": (".attention:SoftmaxAttention", {}),
    "swa": (".attention:SlidingWindowAttention", {}),
    "linear": (".linear:LinearAttention", {}),
    "retnet": (".linear:RetNet", {}),
    "gla": (".linear:GLA", {}),
    "mamba2": (".linear:Mamba2", {}),
    "deltanet": (".delta:DeltaNet", {}),
    "gated-deltanet": (".delta:GatedDeltaNet", {}),
    "titans-lmm": (".titans:Titans", {}),
    "titans-mac": (".titans:TitansMAC", {}),
    "titans-mag": (".titans:TitansMAG", {}),
    "titans-mal": (".titans:TitansMAL", {}),
    "moneta": (".miras:Moneta", {}),
    "yaad": (".miras:Yaad", {}),
    "memora": (".miras:Memora", {}),
    "omeganet": (".atlas:OmegaNet", {}),
    "atlas": (".atlas:Atlas", {}),
    "dot": (".atlas:Dot", {}),
    "deep-transformer": (".atlas:DeepTransformer", {}),
    "swla": (".atlas:SWLA", {}),
    "mom": (".mom:MoM", {}),
    "lla": (".lla:LocalLinearAttention", {}),
    "parallax": (".lla:LocalLinearAttention", {"probe": "learned"}),
    "pavlovian": (".pavlovian:PavlovianAttention", {}),
}
"""Name -> (module:class, the settings that the name stands for)."""


def mixer_names() -> list[str]:
    """All names that `make_mixer` knows."""
    return list(_HOMES)


def check_mixer_name(name: str) -> None:
    """Raises: NotFound: no such mixer; the message offers the nearest names."""
    if name not in _HOMES:
        near = get_close_matches(name, _HOMES, n=3) or mixer_names()
        raise NotFound(f"no mixer {name!r}: try {', '.join(near)}")


def make_mixer(name: str, dim: int, heads: int, **settings: Any) -> Mixer:
    """The mixer of that name.

    Args:
        dim: model width D.
        heads: must divide dim.
        settings: of its own, as its class documents them; they go before what the name stands for.

    Raises:
        NotFound: no such mixer; the message offers the nearest names.
        InvalidInput: it has no such setting, or cannot use its value.
    """
    check_mixer_name(name)
    home, meant = _HOMES[name]
    file, _, title = home.partition(":")
    made: type[Mixer] = getattr(import_module(file, __package__), title)
    known = [one for one in inspect.signature(made).parameters if one not in ("dim", "heads")]
    if unknown := sorted(settings.keys() - set(known)):
        raise InvalidInput(f"{name} has no setting {unknown[0]!r}: it knows {', '.join(known) or 'none'}")
    return made(dim, heads=heads, **{**meant, **settings})
