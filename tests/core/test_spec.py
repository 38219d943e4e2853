from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from mnemos.core import Spec
from mnemos.core.errors import InvalidInput


@pytest.mark.parametrize("name", ["structure", "objective", "retention", "rule"])
def test_an_empty_choice_is_refused_by_its_name(name: str) -> None:
    choices = {"structure": "a", "objective": "b", "retention": "c", "rule": "d", name: "  "}
    with pytest.raises(InvalidInput, match=f"Spec.{name} is empty"):
        Spec(**choices)


def test_a_spec_is_a_value() -> None:
    spec = Spec("a", "b", "c", "d")
    assert spec == Spec("a", "b", "c", "d")
    with pytest.raises(FrozenInstanceError):
        spec.rule = "e"  # type: ignore[misc]
