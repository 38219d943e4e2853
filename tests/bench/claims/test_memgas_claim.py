"""The parts of MemGAS's claim at toy size: the variant that needs no data."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mnemos.bench.claims.memgas import RANKINGS, Seen, _result, granular, related
from mnemos.text.recipes.memgas import Sessions


def test_the_router_beats_every_unit_and_equal_weights() -> None:
    for seed in range(2):
        found = granular(seed, questions=150)
        router = found.pop("router")
        assert router > max(found.values()) + 0.1


def test_accepted_edges_find_related_sessions_and_random_ones_do_not() -> None:
    found = related(0)
    assert found["accepted edges"] > found["random edges"] + 0.3


def test_without_data_the_claim_is_at_most_partly_shown_and_fails_where_nothing_passes() -> None:
    toys, links = [granular(0, questions=60)], [related(0, groups=5)]
    found = _result({}, [], toys, links, 0)
    assert found.claim is not None
    assert found.claim.verdict == "partly"
    flat = _result(dict.fromkeys(RANKINGS, 0.5), [], [dict.fromkeys(toys[0], 0.5)], [dict.fromkeys(links[0], 0.5)], 1)
    assert flat.claim is not None
    assert flat.claim.verdict == "fails"


def test_rankings_of_single_units_and_of_fusions_agree_where_all_units_do(tmp_path: Path) -> None:
    scores = np.tile([0.9, 0.1, 0.5], (5, 1))
    seen = Seen(scores, frozenset({"0"}), Sessions(), Sessions())
    calm = [ranking for name, ranking in RANKINGS.items() if "walk" not in name]
    assert all(np.argsort(-ranking(seen)).tolist() == [0, 2, 1] for ranking in calm)
