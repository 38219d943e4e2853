from __future__ import annotations

import json
import lzma
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemos.core.clock import iso
from mnemos.core.errors import InvalidInput, NotFound
from mnemos.text.importers import detect
from mnemos.text.importers.locomo import load_locomo, normalise_evidence, session_time
from mnemos.text.importers.longmemeval import history_time, load_longmemeval

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
LOCOMO = DATA / "locomo" / "locomo5.json.xz"
ORACLE = DATA / "longmemeval_sample" / "longmemeval_oracle_sample.json.xz"
HISTORIES = DATA / "longmemeval_sample" / "longmemeval_s_3x9.json.xz"
needs_locomo = pytest.mark.skipif(not LOCOMO.exists(), reason="the LoCoMo sample is not here")
needs_longmemeval = pytest.mark.skipif(
    not (ORACLE.exists() and HISTORIES.exists()), reason="the LongMemEval samples are not here"
)


def sample():
    image = {"blip_caption": "a photo of a lake", "query": "leaky words", "img_url": ["u"]}
    return {
        "sample_id": "conv-1",
        "qa": [
            {"question": "When?", "answer": 2022, "evidence": ["D2:1; D10:02", "D", "D9:9"], "category": 2},
            {"question": "Who?", "adversarial_answer": "Bo", "evidence": [], "category": 5},
        ],
        "conversation": {
            "speaker_a": "Al", "speaker_b": "Bo",
            "session_10_date_time": "12:05 am on 1 February, 2023",
            "session_10": [
                {"speaker": "Al", "dia_id": "D10:1", "text": "Late"},
                {"speaker": "Bo", "dia_id": "D10:2", "text": "Yes"},
            ],
            "session_2_date_time": "1:56 pm on 8 May, 2022",
            "session_2": [{"speaker": "Bo", "dia_id": "D2:1", "text": "See this", **image}],
            "session_11_date_time": "1:00 pm on 9 May, 2023",
        },
    }  # fmt: skip


def instance(**more):
    return {
        "question_id": "q1_abs", "question_type": "multi-session", "question": "What?", "answer": 3,
        "question_date": "2023/06/01 (Thu) 00:58",
        "haystack_dates": ["2023/05/27 (Sat) 10:20", "2023/05/25 (Thu) 20:21"],
        "haystack_session_ids": ["s2", "s1"],
        "haystack_sessions": [
            [
                {"role": "user", "content": "two", "has_answer": True},
                {"role": "assistant", "content": "ok", "has_answer": False},
            ],
            [{"role": "user", "content": "one"}],
        ],
        "answer_session_ids": ["s2"],
    } | more  # fmt: skip


# -- LoCoMo --------------------------------------------------------------------------------


def test_locomo_turns_come_in_order_with_captions_and_without_queries(read, put):
    items, skipped = read("locomo", put("a.json", [sample()]))
    assert [(i.text, i.speaker, i.session, iso(i.at)) for i in items] == [
        ("See this [shares a photo of a lake]", "Bo", "conv-1/session_2", "2022-05-08T13:56"),
        ("Late", "Al", "conv-1/session_10", "2023-02-01T00:05"),
        ("Yes", "Bo", "conv-1/session_10", "2023-02-01T00:05"),
    ]
    assert items[0].metadata == {"dia_id": "D2:1", "sample_id": "conv-1"}
    assert skipped == []
    assert "leaky" not in str(items)


def test_locomo_questions_keep_only_evidence_that_is_there_and_list_the_rest(put):
    (talk,) = load_locomo(put("a.json.xz", lzma.compress(json.dumps([sample()]).encode())))
    when, who = talk.questions
    assert talk.speakers == ("Al", "Bo")
    assert (when.answer, when.adversarial, when.category, when.evidence) == (
        "2022",
        None,
        2,
        ("D2:1", "D10:2"),
    )
    assert (who.answer, who.adversarial, who.category, who.evidence) == (None, "Bo", 5, ())
    assert talk.unresolved == ("D9:9",)


@pytest.mark.parametrize(
    ("raw", "ids"),
    [
        (["D8:6; D9:17"], ["D8:6", "D9:17"]),
        (["D9:1 D4:4 D4:6"], ["D9:1", "D4:4", "D4:6"]),
        (["D:11:26"], ["D11:26"]),
        (["D30:05"], ["D30:5"]),
        (["D"], []),
        (["D1:1", "D1:01"], ["D1:1"]),
        (["E7"], ["E7"]),
        (None, []),
        ("D1:2", ["D1:2"]),
    ],
)
def test_evidence_is_normalised(raw, ids):
    assert normalise_evidence(raw) == ids


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("12:00 am on 29 February, 2024", "2024-02-29T00:00"),
        ("12:30 pm on 1 Sept, 2023", "2023-09-01T12:30"),
        ("13:00 pm on 1 May, 2023", None),
        ("1:00 pm on 31 June, 2023", None),
        ("noon", None),
        (None, None),
    ],
)
def test_locomo_dates(text, time):
    at = session_time(text)
    assert (iso(at) if at is not None else None) == time


@settings(derandomize=True, deadline=None)
@given(st.datetimes())
def test_any_minute_written_the_longmemeval_way_is_read_back(moment):
    text = f"{moment.year:04}/{moment:%m/%d} ({moment:%a}) {moment:%H:%M}"
    assert iso(history_time(text)) == moment.replace(second=0, microsecond=0).isoformat(timespec="minutes")


def test_locomo_damage_is_skipped_by_the_importer_and_refused_by_the_loader(read, put):
    broken = sample()
    broken["conversation"]["session_2"].append({"speaker": "Al"})
    broken["conversation"]["session_10_date_time"] = "some day"
    path = put("a.json", [broken, 5])
    items, skipped = read("locomo", path)
    assert [i.at is None for i in items] == [False, True, True]
    assert len(skipped) == 3
    with pytest.raises(InvalidInput, match="turn 2"):
        load_locomo(path)
    with pytest.raises(NotFound):
        load_locomo(path.with_name("none.json"))
    with pytest.raises(InvalidInput, match="category"):
        load_locomo(put("b.json", [sample() | {"qa": [{"question": "Q"}]}]))


@needs_locomo
def test_the_real_locomo_half_has_its_known_counts(read):
    talks = load_locomo(LOCOMO)
    assert [t.sample_id for t in talks] == ["conv-26", "conv-30", "conv-41", "conv-42", "conv-43"]
    assert [len(t.items) for t in talks] == [419, 369, 663, 629, 680]
    assert [len(t.questions) for t in talks] == [199, 105, 193, 260, 242]
    assert Counter(q.category for t in talks for q in t.questions) == {1: 142, 2: 156, 3: 46, 4: 418, 5: 237}
    for talk in talks:
        turns = {i.metadata["dia_id"] for i in talk.items}
        raw = {id for q in talk.questions for id in q.evidence}
        assert raw <= turns
        assert not set(talk.unresolved) & turns
        assert all(i.at is not None for i in talk.items)
        assert [i.at for i in talk.items] == sorted(i.at for i in talk.items)
    assert [t.unresolved for t in talks] == [(), (), (), ("D10:19",), ()]
    items, skipped = read("locomo", LOCOMO)
    assert items == [i for t in talks for i in t.items]
    assert len({i.key for i in items}) == len(items) == 2760
    assert skipped == []
    assert detect(LOCOMO).name == "locomo"


# -- LongMemEval ---------------------------------------------------------------------------


def test_longmemeval_sessions_come_by_date(read, put):
    items, skipped = read("longmemeval", put("a.json", [instance()]))
    assert [(i.text, i.speaker, i.source, i.session, iso(i.at), i.metadata) for i in items] == [
        ("one", "user", "user", "s1", "2023-05-25T20:21", {"turn": 0}),
        ("two", "user", "user", "s2", "2023-05-27T10:20", {"turn": 0}),
        ("ok", "assistant", "assistant", "s2", "2023-05-27T10:20", {"turn": 1}),
    ]
    assert skipped == []


def test_longmemeval_questions_of_both_schemas(put):
    plural = instance(questions=["A?", "B?"], answers=["a", 2], answer_session_ids=[["s1"], ["s2"]])
    del plural["question"], plural["answer"]
    one, many = load_longmemeval(put("a.json", [instance(), plural]))
    (q,) = one.questions
    assert (one.id, one.type, len(one.items)) == ("q1_abs", "multi-session", 3)
    assert (q.answer, iso(q.asked_at), q.gold_sessions, q.gold_turns, q.abstention) == (
        "3", "2023-06-01T00:58", ("s2",), (("s2", 0),), True,
    )  # fmt: skip
    assert [(q.question, q.answer, q.gold_turns) for q in many.questions] == [
        ("A?", "a", ()),
        ("B?", "2", (("s2", 0),)),
    ]
    assert not any(q.abstention for q in many.questions)


def test_longmemeval_roles_other_than_the_two_are_skipped(read, put):
    turns = [{"role": "system", "content": "be nice"}, {"role": "user", "content": "hi"}, {"role": "user"}, 7]
    path = put("a.json", [instance(haystack_sessions=[turns, []]), instance(haystack_dates=[])])
    items, skipped = read("longmemeval", path)
    assert [(i.text, i.metadata) for i in items] == [("hi", {"turn": 1})]
    assert len(skipped) == 4
    with pytest.raises(InvalidInput, match="role system"):
        load_longmemeval(path)


@needs_longmemeval
def test_the_real_longmemeval_samples_load_and_marked_turns_lie_in_the_answer_sessions():
    oracle, histories = load_longmemeval(ORACLE), load_longmemeval(HISTORIES)
    assert [(i.type, len(i.items), [q.abstention for q in i.questions]) for i in oracle] == [
        ("knowledge-update", 24, [False]), ("temporal-reasoning", 24, [True]),
    ]  # fmt: skip
    for one, raw in zip(oracle, json.loads(lzma.decompress(ORACLE.read_bytes())), strict=True):
        pairs = zip(raw["haystack_session_ids"], raw["haystack_sessions"], strict=True)
        marked = {(id, n) for id, turns in pairs for n, turn in enumerate(turns) if turn.get("has_answer")}
        assert marked
        assert marked == set(one.questions[0].gold_turns)
    assert sum(len(i.items) for i in histories) == 1218
    assert [len(i.questions) for i in histories] == [9, 9, 8]
    assert [len(i.questions[0].gold_turns) for i in histories] == [2, 2, 0]
    for history in histories:
        sessions = {i.session for i in history.items}
        assert all(q.gold_sessions and set(q.gold_sessions) <= sessions for q in history.questions)
        assert [i.at for i in history.items] == sorted(i.at for i in history.items)
    assert detect(ORACLE).name == detect(HISTORIES).name == "longmemeval"
