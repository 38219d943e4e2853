"""Forgetting: soft can be taken back, hard leaves no byte; holds, expiry, receipts."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from mnemos import FixedClock, Kind, Memory
from mnemos.core.errors import HeldError, InvalidInput, NotFound

_QUERIES = ["Where does Ada live?", "tea", "Miso the cat", "Who is Noor?", "harbour"]


def _open(folder: Path, **more: Any) -> Memory:
    return Memory(folder / "m.mnemos", embedder=None, clock=FixedClock("2025-06-01"), seed=1, **more)


def _bytes(folder: Path) -> bytes:
    return b"".join(p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file())


def _view(memory: Memory, *, ids: bool = True) -> list[Any]:
    hits = [memory.search(q, 20, explain=True) for q in _QUERIES]
    return [[(h.id if ids else "", h.text, h.score, h.why, dict(h.parts)) for h in found] for found in hits]


# -- soft ----------------------------------------------------------------------------------


def test_soft_forget_hides_from_everything_but_get_and_history_and_restore_brings_all_back(memory: Memory) -> None:
    id = memory.add("I live in Lisbon with Noor.", speaker="Ada", at="2024-01-01")
    memory.add("tea with Bo", speaker="Ada")
    before, listed = _view(memory), memory.list(kinds=list(Kind))
    receipt = memory.forget(id)
    assert (receipt.ids, receipt.hard) == ([id], False)
    assert {memory.get(d).kind for d in receipt.derived} == {Kind.FACT, Kind.ENTITY}
    assert receipt.removed["recall"] == 1 + len(receipt.derived)
    assert [r.text for r in memory.list(kinds=list(Kind)) if r.kind != Kind.ENTITY] == ["tea with Bo"]
    assert not any(h.id == id for h in memory.search("Lisbon"))
    assert memory.get(id).retracted_at is not None
    assert [v.operation.kind for v in memory.history(id)] == ["add", "forget"]
    assert memory.restore(id) == id
    assert (_view(memory), memory.list(kinds=list(Kind))) == (before, listed)
    with pytest.raises(InvalidInput, match="not forgotten"):
        memory.restore(id)


def test_earlier_versions_go_and_come_with_the_record(memory: Memory, clock: FixedClock) -> None:
    id = memory.add("The kettle is blue", at="2025-01-01")
    clock.advance(60)
    memory.update(id, "The kettle is red")
    memory.forget(id)
    assert memory.search("kettle", as_of="2025-02-01") == []
    memory.restore(id)
    assert [h.text for h in memory.search("kettle", as_of="2025-02-01")] == ["The kettle is blue"]


def test_forget_by_filter_touches_only_what_it_names(memory: Memory) -> None:
    a, b, c = memory.add([
        {"text": "tea", "session": "s", "speaker": "Ada"},
        {"text": "coffee", "session": "s", "speaker": "Bo"},
        {"text": "juice", "session": "t", "speaker": "Ada"},
    ])  # fmt: skip
    assert memory.forget(session="s", speaker="Ada").ids == [a]
    assert memory.forget(session="t", hard=True).ids == [c]
    assert [r.id for r in memory.list()] == [b]
    assert memory.forget(session="nothing").ids == []


def test_nothing_is_forgotten_by_accident(memory: Memory) -> None:
    id = memory.add("tea")
    for call in (lambda: memory.forget(), lambda: memory.forget(hard=True), lambda: memory.forget(id, session="s")):
        with pytest.raises(InvalidInput, match="forget what"):
            call()
    assert len(memory.list()) == 1


# -- hard ----------------------------------------------------------------------------------


def test_hard_forget_leaves_no_byte_of_text_or_field_in_any_file(tmp_path: Path) -> None:
    """Canaries in text, metadata, speaker, session and key; with updates, facts, names, merges and sessions."""
    canaries = [
        "Qzxcanaryville", "QZTEXTFIRST", "QZTEXTSECOND", "QZMETAVALUE", "QZMETANAME", "QZMETALATER", "Qzspeaker",
        "QZSESSION", "QZKEY",
    ]  # fmt: skip
    with _open(tmp_path) as memory:
        memory.add([{"text": f"harbour note {n} " + "tea " * n, "speaker": "Bo", "session": "keep"} for n in range(80)])
        text = "I live in Qzxcanaryville since spring and the QZTEXTFIRST harbour café smells of fresh coffee beans."
        where = {"speaker": "Qzspeaker", "session": "QZSESSION"}
        id = memory.add(text, at="2024-01-01", metadata={"QZMETANAME": ["QZMETAVALUE"]}, key="QZKEY", **where)
        memory.add(text, at="2024-01-01", **where)  # a copy that consolidation merges
        memory.consolidate()
        memory.update(id, text.replace("QZTEXTFIRST", "QZTEXTSECOND"))
        memory.update(id, metadata={"later": "QZMETALATER"})
        memory.consolidate()
        assert memory.search("Qzxcanaryville harbour")
        assert memory.ask("Where does Qzspeaker live?").found
        held = _bytes(tmp_path)
        assert all(c.encode() in held for c in canaries)
        receipt = memory.forget(id, hard=True)
        left = _bytes(tmp_path)
        assert [c for c in canaries if c.encode() in left] == []
        assert receipt.verified
        assert receipt.hard
        assert id in receipt.ids
        assert receipt.removed["records"] >= 4
        assert receipt.removed["log"] >= 4
        assert receipt.removed["keys"] == 1
        assert memory.search("Qzxcanaryville") == [] or not any("Qz" in h.text for h in memory.search("Qzxcanaryville"))
        assert [v.record for v in memory.history(id)] == [None] * len(memory.history(id))
        assert memory.check() == []
        with pytest.raises(NotFound):
            memory.get(id)
        with pytest.raises(NotFound):
            memory.restore(id)
    left = _bytes(tmp_path)
    assert [c for c in canaries if c.encode() in left] == []


def test_hard_forgets_among_many_writes_leave_no_residue(tmp_path: Path) -> None:
    # pages that were split or emptied are where bytes could stay behind
    rnd = random.Random(5)
    with _open(tmp_path) as memory:
        live: dict[str, str] = {}
        for n in range(150):
            mark = f"QZ{n:04d}MARK"
            text = f"{mark} " + " ".join(f"word{rnd.randrange(500)}" for _ in range(rnd.choice([2, 20, 80, 400])))
            live[memory.add(text, metadata={"m": f"META{mark}"}, session=f"SESS{mark}")] = mark
            if rnd.random() < 0.25:
                id = rnd.choice(list(live))
                memory.update(id, memory.get(id).text + " more")
            if rnd.random() < 0.25:
                id = rnd.choice(list(live))
                assert memory.forget(id, hard=True).verified
                assert live.pop(id).encode() not in _bytes(tmp_path)
        assert memory.check() == []


def test_deleted_is_as_if_never_added(tmp_path: Path) -> None:
    kept: list[dict[str, Any]] = [
        {"text": "I live in Lisbon.", "speaker": "Ada", "at": "2020-01-01", "session": "a"},
        {"text": "I moved to Oslo.", "speaker": "Ada", "at": "2022-01-01", "session": "b"},
        {"text": "tea by the harbour with Noor", "speaker": "Bo", "session": "b"},
        {"text": "My cat is named Miso.", "speaker": "Ada", "session": "b"},
    ]
    gone: list[dict[str, Any]] = [
        {"text": "I moved to Rome.", "speaker": "Ada", "at": "2021-01-01", "session": "c"},
        {"text": "I live in Oslo.", "speaker": "Ada", "at": "2021-06-01", "session": "c"},
        {"text": "Noor and Miso drank tea", "speaker": "Cleo", "session": "c"},
    ]
    views = []
    for order in ([kept[0], *gone, *kept[1:]], kept):
        folder = tmp_path / str(len(order))
        folder.mkdir()
        with _open(folder) as memory:
            for one in order:
                memory.add([one])
            if len(order) > len(kept):
                _view(memory)
                memory.forget(session="c", hard=True)
            facts = [(r.kind, r.text, r.valid_from, r.valid_to) for r in memory.list(kinds=["fact", "entity"])]
            views.append((_view(memory, ids=False), sorted(facts, key=repr), memory.stats()["records"]))
            again = _view(memory)
        with _open(folder) as memory:
            assert _view(memory) == again
    assert views[0] == views[1]


def test_a_shared_entity_and_fact_survive_while_another_record_carries_them(memory: Memory) -> None:
    a = memory.add("I live in Lisbon.", speaker="Ada", at="2020-01-01", session="QZFIRST")
    b = memory.add("I live in Lisbon.", speaker="Ada", at="2021-01-01", session="second")
    memory.forget(a, hard=True)
    (fact,) = memory.list(kinds="fact")
    assert [e.to for e in fact.edges if e.kind == "derived-from"] == [b]
    assert fact.session == "second"
    assert [r.text for r in memory.list(kinds="entity")] == ["Lisbon"]
    receipt = memory.forget(b, hard=True)
    assert set(receipt.derived) == {fact.id, *(r for r in receipt.derived if r.startswith("E"))}
    assert memory.list(kinds=list(Kind), hidden=True) == []


def test_a_hard_forget_of_what_was_softly_forgotten_erases_what_hung_on_it(tmp_path: Path) -> None:
    with _open(tmp_path) as memory:
        id = memory.add("I live in Qzxcanaryville.", speaker="Ada", session="s")
        memory.consolidate()
        memory.forget(id)
        memory.forget(id, hard=True)
        assert b"Qzxcanaryville" not in _bytes(tmp_path)


def test_a_legal_hold_refuses_both_ways_until_it_is_lifted(memory: Memory) -> None:
    held, free = memory.add([{"text": "I live in Lisbon.", "speaker": "Ada"}, {"text": "tea"}])
    memory.retain(held, hold=True)
    with pytest.raises(HeldError, match="hold=False"):
        memory.forget(held, hard=True)
    assert memory.forget(held).held == [held]
    receipt = memory.forget(everything=True, hard=True)
    assert (receipt.held, receipt.ids) == ([held], [free])
    assert [r.id for r in memory.list()] == [held]
    assert memory.ask("Where does Ada live?").text == "Lisbon"
    memory.retain(held, hold=False)
    assert memory.forget(held, hard=True).ids == [held]


def test_index_files_go_with_a_hard_forget(tmp_path: Path) -> None:
    with _open(tmp_path) as memory:
        id = memory.add("tea")
        (tmp_path / "m.mnemos-index-00ff").write_bytes(b"kept vectors")
        assert memory.forget(id, hard=True).removed["index"] == 1
    assert not list(tmp_path.glob("*-index-*"))


def test_a_key_may_be_used_again_after_a_hard_forget(memory: Memory) -> None:
    first = memory.add("tea", key="k")
    memory.forget(first, hard=True)
    second = memory.add("coffee", key="k")
    assert second != first
    assert memory.get(second).text == "coffee"
