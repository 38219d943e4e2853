from __future__ import annotations

import torch

from mnemos.bench.claims.mixture_of_memories import FULL, SMOKE, _draw, _fixed, _recall, run
from mnemos.bench.runner import silent
from mnemos.state.mixers.parts import l2norm


def test_the_claim_runs_at_smoke_size_and_separate_states_win() -> None:
    result = run(silent, SMOKE)
    assert result.claim is not None
    error = {row["system"]: row["error"] for row in result.rows}
    assert error["MoM"] < 0.5 * min(error["single"], error["enlarged"])


def test_the_enlarged_state_has_the_size_of_all_memories() -> None:
    width = _fixed(FULL, FULL.memories * FULL.width).shape[-1]
    assert width * FULL.width == FULL.memories * FULL.width**2


def test_each_memory_is_written_by_its_own_pairs_only() -> None:
    """Replayed memory by memory, and pair by pair."""
    x, v = _draw(SMOKE, 16)
    read = _recall("MoM", SMOKE, x, v)
    chosen = (x @ _fixed(SMOKE, SMOKE.memories)).argmax(-1)
    for seed in range(len(SMOKE.seeds)):
        for memory in range(SMOKE.memories):
            mine = (chosen[seed] == memory).nonzero()[:, 0]
            state = torch.zeros(16, 16, dtype=x.dtype)
            for t in mine:
                k = l2norm(x[seed, t])
                state = state + torch.outer(k, v[seed, t] - k @ state)
            torch.testing.assert_close(read[seed, mine], l2norm(x[seed, mine]) @ state)
