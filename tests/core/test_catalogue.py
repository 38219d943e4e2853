from __future__ import annotations

import json

import pytest

from mnemos.core import Spec, catalogue, get_system, system
from mnemos.core import catalogue as module
from mnemos.core.errors import InvalidInput, NotFound

_CHOICES = Spec("a", "b", "c", "d")


@pytest.fixture(autouse=True)
def _own_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue()  # the rows of the package first, so that the copy has them
    import sys

    rows = sys.modules["mnemos.core.catalogue"]
    monkeypatch.setattr(rows, "_systems", dict(rows._systems))


def _register(slug: str, name: str = "Probe", wing: str = "text") -> type:
    made = type(name, (), {})
    return system(slug, title="T", paper="P", year=2024, wing=wing, choices=_CHOICES, claim="c")(made)  # type: ignore[arg-type]


def test_the_default_memory_is_in_the_catalogue_with_its_four_choices() -> None:
    row = get_system("mnemos")
    assert row.target == "mnemos.text.memory:Memory"
    assert row.wing == "text"
    assert row.choices.structure


def test_a_registered_system_is_found_listed_in_order_and_plain_data() -> None:
    _register("probe_b")
    _register("probe_a", "Other")
    slugs = [row.slug for row in catalogue()]
    assert slugs == sorted(slugs)
    assert {"probe_a", "probe_b"} <= set(slugs)
    assert json.loads(json.dumps(get_system("probe_a").as_dict()))["claim"] == {"statement": "c"}


@pytest.mark.parametrize("slug", ["", "Titans", "1st", "a-b", "a b"])
def test_a_malformed_slug_is_refused(slug: str) -> None:
    with pytest.raises(InvalidInput, match="no slug"):
        _register(slug)


def test_an_unknown_wing_is_refused_with_the_ones_there_are() -> None:
    with pytest.raises(InvalidInput, match="text, state"):
        _register("probe", wing="attic")


def test_a_taken_slug_is_refused_but_the_same_thing_may_register_twice() -> None:
    _register("probe", "One")
    _register("probe", "One")
    with pytest.raises(InvalidInput, match="taken"):
        _register("probe", "Two")


def test_a_wrong_name_answers_with_the_nearest() -> None:
    with pytest.raises(NotFound, match="try mnemos"):
        get_system("mnemoz")
    assert callable(module)
