"""The published form is read and written without loss; what is not in it is refused."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from mnemos.bench.halumem.generator import Plan, generate
from mnemos.bench.halumem.schema import dump_halumem, load_halumem, record_of, user_of
from mnemos.core.errors import InvalidInput, NotFound


def record() -> dict[str, Any]:
    """A hand-made user in the published form, without fields of ours."""
    return {
        "uuid": "u-1",
        "persona_info": "A gardener from Ghent.",
        "sessions": [
            {
                "start_time": "May 08, 2025, 13:56:00",
                "end_time": "May 08, 2025, 14:02:30",
                "dialogue_turn_num": 2,
                "dialogue": [
                    {
                        "role": "user", "content": "I moved to Lyon.", "timestamp": "May 08, 2025, 13:56:00",
                        "dialogue_turn": 1,
                    },
                    {
                        "role": "assistant", "content": "How nice.", "timestamp": "May 08, 2025, 14:02:30",
                        "dialogue_turn": 1,
                    },
                ],
                "memory_points": [
                    {
                        "index": 1, "memory_content": "The user lives in Lyon.", "memory_type": "Persona Memory",
                        "memory_source": "primary", "is_update": "True",
                        "original_memories": ["The user lives in Ghent."], "importance": 0.75,
                        "timestamp": "May 08, 2025, 13:56:00",
                    },
                    {
                        "index": 2, "memory_content": "The user sails.", "memory_type": "Persona Memory",
                        "memory_source": "interference", "is_update": "False", "original_memories": [],
                        "importance": 0.1, "timestamp": "May 08, 2025, 13:56:00",
                    },
                ],
                "questions": [
                    {
                        "question": "Where does the user live?", "answer": "In Lyon.",
                        "evidence": [{"memory_content": "The user lives in Lyon.", "memory_type": "Persona Memory"}],
                        "difficulty": "easy", "question_type": "Basic Fact Recall",
                    }
                ],
            }
        ],
    }  # fmt: skip


def test_a_hand_made_record_comes_back_as_it_was() -> None:
    assert record_of(user_of(record())) == record()


def test_truth_values_arrive_as_words() -> None:
    points = user_of(record()).sessions[0].points
    assert [point.is_update for point in points] == [True, False]
    bad = record()
    bad["sessions"][0]["memory_points"][0]["is_update"] = "maybe"
    with pytest.raises(InvalidInput, match="maybe"):
        user_of(bad)


def test_gold_and_interference_are_told_apart() -> None:
    session = user_of(record()).sessions[0]
    assert [point.content for point in session.gold] == ["The user lives in Lyon."]
    assert [point.content for point in session.interference] == ["The user sails."]


def test_made_up_users_survive_a_file(tmp_path: Path) -> None:
    users = generate(Plan(users=2, sessions=3, unrelated=1), seed=4)
    assert any(session.unrelated for user in users for session in user.sessions)
    dump_halumem(users, tmp_path / "made.jsonl")
    assert load_halumem(tmp_path / "made.jsonl") == users


def test_arrays_and_compressed_files_are_read_too(tmp_path: Path) -> None:
    (tmp_path / "array.json").write_text(json.dumps([record()]))
    (tmp_path / "lines.jsonl.xz").write_bytes(lzma.compress(json.dumps(record()).encode() + b"\n"))
    assert load_halumem(tmp_path / "array.json") == load_halumem(tmp_path / "lines.jsonl.xz") == [user_of(record())]


def test_sessions_come_in_time_order() -> None:
    data = record()
    later = {**data["sessions"][0], "start_time": "May 09, 2025, 13:56:00"}
    data["sessions"] = [later, *data["sessions"]]
    starts = [session.start for session in user_of(data).sessions]
    assert starts == sorted(starts)


def test_files_of_another_form_say_where_they_are_wrong(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        load_halumem(tmp_path / "none.jsonl")
    path = tmp_path / "broken.jsonl"
    path.write_text(json.dumps(record()) + "\n{broken\n")
    with pytest.raises(InvalidInput, match="line 2"):
        load_halumem(path)
    for wrong in ({"uuid": "u"}, [], "text", {**record(), "sessions": [{}]}):
        with pytest.raises(InvalidInput, match="HaluMem's form"):
            user_of(wrong)
    path.write_text("[]")
    with pytest.raises(NotFound, match="no user"):
        load_halumem(path)
