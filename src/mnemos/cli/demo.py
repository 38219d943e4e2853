"""demo: a conversation, a dozen questions, and why each answer was given."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnemos.cli.common import EmbedderOption, JsonOption, StoreOption, memory_at, print_json
from mnemos.cli.screen import cited_beside, line, message, screen, short, styled, when
from mnemos.cli.transfer import load

if TYPE_CHECKING:
    from rich.console import Console

    from mnemos.text.memory import Memory
    from mnemos.text.records import Record
    from mnemos.text.results import Answer, Hit

Question = Mapping[str, Any]
_LOOKED_AT = 5
"""Hits among which evidence counts as found."""


def register(app: typer.Typer) -> None:
    """Add this command to `app`."""
    app.command("demo")(demo)


def demo(
    count: Annotated[int, typer.Option("-n", min=10, help="How many questions to ask.")] = 12,
    store: StoreOption = None,
    embedder: EmbedderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remember a small conversation, ask it questions, and see why each answer was given.

    Needs no key and no network. The memory is temporary unless --store names a file.

    Example: mnemos demo
    """
    turns, questions = conversation()
    chosen = choose(questions, count)
    with _place(store) as path, memory_at(path, embedder, create=True) as memory:
        if not as_json:
            speakers = " and ".join(dict.fromkeys(str(turn["speaker"]) for turn in turns))
            message(f"{speakers} talk: {len(turns)} turns, {turns[0]['at'][:10]} to {turns[-1]['at'][:10]}")
        load(memory, turns, len(turns))
        asked = []
        console = screen()
        for number, question in enumerate(chosen, 1):
            filters = {"as_of": question["as_of"]} if question.get("as_of") else {}
            answer = memory.ask(question["question"], _LOOKED_AT, **filters)
            asked.append(_Asked(question, answer))
            if not as_json:
                _print_asked(console, memory, number, asked[-1])
        if as_json:
            print_json(
                {
                    "store": str(store) if store else None,
                    "turns": len(turns),
                    "questions": [one.as_dict() for one in asked],
                }
            )
        else:
            _print_end(console, asked, store)


def conversation() -> tuple[list[dict[str, Any]], list[Question]]:
    """The packaged turns, as `Memory.add` takes them, and the questions about them."""
    data = resources.files("mnemos.data")
    turns = [json.loads(line) for line in data.joinpath("demo.jsonl").read_text(encoding="utf-8").splitlines() if line]
    return turns, json.loads(data.joinpath("demo_questions.json").read_text(encoding="utf-8"))


def choose(questions: Sequence[Question], count: int) -> list[Question]:
    """`count` questions: two of a past state beside the present one, two that memory cannot answer, and the
    rest from each kind in turn. In the order of the file, a past state right before its present."""
    now = {q["question"]: q for q in questions if q["answerable"] and not q.get("as_of")}
    past = [q for q in questions if q.get("as_of") and q["question"] in now]
    pairs = [one for q in past[:2] for one in (q, now[q["question"]])]
    absent = [q for q in questions if not q["answerable"]][:2]
    taken = {id(q) for q in (*pairs, *absent)}
    kinds: dict[str, list[Question]] = {}
    for q in now.values():
        if id(q) not in taken:
            kinds.setdefault(q["kind"], []).append(q)
    in_turn = [q for round in zip_longest(*kinds.values()) for q in round if q is not None]
    rest = in_turn[: max(0, count - len(pairs) - len(absent))]
    return [*sorted(rest, key=questions.index), *pairs, *absent]


@dataclass(frozen=True, slots=True)
class _Asked:
    question: Question
    answer: Answer

    @property
    def rank(self) -> int | None:
        """Where the first annotated piece of evidence stands among the hits, from 1; None if nowhere."""
        refs = [hit.metadata.get("ref") for hit in self.answer.hits[:_LOOKED_AT]]
        return next((n for n, ref in enumerate(refs, 1) if ref in self.question["evidence"]), None)

    def as_dict(self) -> dict[str, Any]:
        return {
            **self.question,
            "expected": self.question["answer"],
            "answer": self.answer.as_dict(),
            "evidence_rank": self.rank,
        }


@contextmanager
def _place(store: Path | None) -> Iterator[Path]:
    if store is not None:
        yield store
        return
    with tempfile.TemporaryDirectory(prefix="mnemos-demo-", ignore_cleanup_errors=True) as folder:
        yield Path(folder) / "demo.mnemos"


# -- screen --------------------------------------------------------------------------------


def _print_asked(console: Console, memory: Memory, number: int, asked: _Asked) -> None:
    question, answer = asked.question, asked.answer
    past = f"  as of {question['as_of'][:10]}" if question.get("as_of") else ""
    console.print()
    line(console, 0, (f"{number:>2}  ", "dim"), (question["question"], "bold"), (past, "bold magenta"))
    style = "bold green" if answer.found else "bold yellow"
    line(console, 4, (short(answer.text, 300), style), (f"   confidence {answer.confidence:.2f}", "dim"))
    cited = [hit for hit in answer.hits if hit.id in answer.citations]
    beside = cited_beside(memory, answer)
    for hit in (cited or (answer.hits[:1] if not beside else ()))[:2]:
        _print_said(console, hit, "; ".join(hit.why), "" if answer.found else "nearest: ")
    for record, why in beside:
        _print_said(console, record, why)


def _print_said(console: Console, said: Hit | Record, why: str, label: str = "") -> None:
    line(console, 6, (label, "dim"), (said.speaker or str(said.kind), "cyan"), (f"  {when(said.at)}", "dim"))
    line(console, 8, (short(said.text, 240), ""))
    line(console, 8, ("why  ", "dim"), (why, "dim italic"))


def _print_end(console: Console, asked: Sequence[_Asked], store: Path | None) -> None:
    known = [one for one in asked if one.question["answerable"]]
    absent = [one for one in asked if not one.question["answerable"]]
    found = sum(one.rank is not None for one in known)
    declined = sum(not one.answer.found for one in absent)
    console.print()
    console.rule(style="dim")
    console.print(styled(
        (f"evidence among the first {_LOOKED_AT}: {found} of {len(known)}", "bold"),
        (f"   answers that are not there, declined: {declined} of {len(absent)}", "bold"),
    ))  # fmt: skip
    console.print()
    where = f" --store {store}" if store else ""
    tries = [
        (f'mnemos ask "Where does Tamsin work?"{where}', "ask it something yourself"),
        (f"mnemos stats{where}", "see what it holds"),
        ('mnemos add "I moved to Porto" --speaker Ada', "begin a memory of your own"),
        ("mnemos import conversations.json", "bring in what you told other assistants"),
    ]
    if store is None:
        tries[:2] = [("mnemos demo --store demo.mnemos", "keep this memory, to ask it yourself")]
    console.print(styled(("Try next", "bold")))
    width = max(len(command) for command, _ in tries)
    for command, what in tries:
        console.print(styled((f"  {command:<{width}}", "cyan"), (f"  {what}", "dim")))


__all__ = ["choose", "conversation", "register"]
