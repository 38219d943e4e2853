"""The tasks run whole on small data, and their figures mean what they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mnemos.bench.runner import run_task
from mnemos.core.errors import InvalidInput, NotFound


@pytest.fixture
def conversation(tmp_path: Path) -> Path:
    turns = [
        ("Ada", "I adopted a whippet called Pickle last Saturday"),
        ("Ben", "How lovely, congratulations"),
        ("Ada", "The bookshop in Porto hired me on Monday"),
        ("Ben", "My marathon was rained off, I ran in the mud"),
    ]
    qa = [
        {"question": "What animal did Ada adopt?", "answer": "a whippet", "evidence": ["D1:1"], "category": 4},
        {"question": "When did Ada adopt Pickle?", "answer": "17 May 2025", "evidence": ["D1:1"], "category": 2},
        {"question": "Who ran in the mud?", "answer": "Ben", "evidence": ["D1:4"], "category": 4},
        {"question": "What did Ben adopt?", "adversarial_answer": "a whippet", "evidence": ["D1:1"], "category": 5},
    ]
    talk = [{"speaker": s, "text": t, "dia_id": f"D1:{n}"} for n, (s, t) in enumerate(turns, 1)]
    data = {"speaker_a": "Ada", "speaker_b": "Ben", "session_1": talk, "session_1_date_time": "1:00 pm on 20 May, 2025"}
    path = tmp_path / "small.json"
    path.write_text(json.dumps([{"sample_id": "small", "conversation": data, "qa": qa}]))
    return path


def test_locomo_scores_every_system_on_answerable_questions(conversation: Path) -> None:
    result = run_task("locomo", data=conversation, embedder="none")
    assert [row["system"] for row in result.rows] == ["BM25", "entities", "mnemos"]
    assert result.size == {"conversations": 1, "turns": 4, "questions": 3}
    assert result.measures["recall@20"] == 1.0
    assert result.measures["mrr"] == 1.0
    assert 0 <= result.measures["answerable AUROC"] <= 1
    assert result.measures["F1 category 2"] > 0.5


def test_locomo_refuses_a_file_without_evidence(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        run_task("locomo", data=tmp_path / "none.json")


def test_longmemeval_ranks_sessions_by_their_best_turn(tmp_path: Path) -> None:
    def said(text: str) -> list[dict]:
        return [{"role": "user", "content": text}, {"role": "assistant", "content": "Noted."}]

    instance = {
        "question_id": "q1", "question_type": "single-session-user", "question": "Which tea do I like best?",
        "answer": "oolong", "question_date": "2025/05/20 (Tue) 10:00", "answer_session_ids": ["s2"],
        "haystack_session_ids": ["s1", "s2"], "haystack_dates": ["2025/05/01 (Thu) 10:00", "2025/05/02 (Fri) 10:00"],
        "haystack_sessions": [said("My bicycle has a flat tyre"), said("Of all tea I like oolong best")],
    }  # fmt: skip
    path = tmp_path / "history.json"
    path.write_text(json.dumps([instance]))
    result = run_task("longmemeval", data=path, embedder="none")
    assert result.measures["recall@1"] == 1.0
    assert result.measures["ndcg@10"] == 1.0


def test_scale_measures_every_cost_beside_its_limit() -> None:
    result = run_task("scale", turns=(100, 200), embedder="none")
    assert [row["turns"] for row in result.rows] == [100, 200]
    for name in ("ingest turns/s", "add p50 ms", "search p95 ms", "cold open + search s", "memory MB"):
        assert result.measures[name] >= 0, name
    with pytest.raises(InvalidInput, match="at least 100"):
        run_task("scale", turns=(5,))
