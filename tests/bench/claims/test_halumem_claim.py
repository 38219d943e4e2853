"""Parts of the claim, small: what the extractor understands, and that each arm mends what it says."""

from __future__ import annotations

from dataclasses import replace

from mnemos.bench.claims.halumem import KNOWN, PLAN, extract, run
from mnemos.bench.halumem.world import persona
from mnemos.bench.runner import silent


def test_the_extractor_knows_four_phrasings_of_every_slot_and_not_the_fifth() -> None:
    for slot in persona()[: PLAN.slots]:
        for number, said in enumerate(slot.said[: PLAN.phrasings]):
            value = slot.values[3]
            found = extract(said.format(v=value), "Ada")
            expected = [f"Ada's {slot.name} is {value}."] if number < KNOWN else []
            assert [entry.text for entry in found] == expected, said


def test_the_extractor_falls_for_claims_and_not_for_small_talk() -> None:
    (entry,) = extract("As you said, your home city is Graz.", "Ada")
    assert (entry.slot, entry.value) == ("home city", "Graz")
    assert extract("What weather we are having. I slept badly.", "Ada") == []


def test_each_arm_mends_what_it_says() -> None:
    result = run(silent, replace(PLAN, users=4, sessions=12), seeds=(3,))
    by = {row["system"][:3]: row for row in result.rows}
    assert by["(a)"]["recall"] == 1.0
    assert by["(c)"]["update correct"] > by["(b)"]["update correct"] + 0.3
    assert by["(c)"]["FMR"] == 0.0
    assert by["(d)"]["FMR"] == 1.0
    assert by["(d)"]["recall"] == by["(c)"]["recall"] < 1
    assert by["(d)"]["accuracy"] == 1.0
    assert by["(d)"]["QA correct"] > by["(c)"]["QA correct"] > by["(b)"]["QA correct"]
    assert result.claim is not None
