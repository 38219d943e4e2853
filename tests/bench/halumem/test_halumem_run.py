"""Systems whose figures are known beforehand, run whole."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest

from mnemos.bench.halumem.generator import SIZES, generate
from mnemos.bench.halumem.judges import VERDICTS, SlotJudge
from mnemos.bench.halumem.metrics import Covered, Outcome, attribution, extraction
from mnemos.bench.halumem.run import diff, run
from mnemos.bench.halumem.schema import Point, Session, User
from mnemos.bench.runner import run_task
from mnemos.core.errors import InvalidInput


class Perfect:
    """Knows the gold."""

    def add_dialogue(self, user: User, session: Session) -> Sequence[str]:
        return [point.content for point in session.gold]

    def retrieve(self, user: User, query: str, k: int) -> Sequence[str]:
        return [query]

    def answer(self, user: User, question: str) -> str:
        return next(q.answer for s in user.sessions for q in s.questions if q.question == question)


class Empty:
    def add_dialogue(self, user: User, session: Session) -> Sequence[str]:
        return []

    def retrieve(self, user: User, query: str, k: int) -> Sequence[str]:
        return []

    def answer(self, user: User, question: str) -> str:
        return ""


class Parrot:
    """Keeps every turn, finds the latest, says them."""

    def __init__(self) -> None:
        self.turns: list[str] = []

    def add_dialogue(self, user: User, session: Session) -> Sequence[str]:
        name = user.persona.removeprefix("Name: ").split(";")[0]
        new = [f"{name if turn.role == 'user' else 'assistant'}: {turn.content}" for turn in session.turns]
        self.turns = new + self.turns
        return new

    def retrieve(self, user: User, query: str, k: int) -> Sequence[str]:
        return self.turns

    def answer(self, user: User, question: str) -> str:
        return " ".join(self.turns[:30])


class Altered(Perfect):
    """Perfect, but for what `change` makes of each session's memories."""

    def __init__(self, change: Callable[[Session, list[str]], list[str]]) -> None:
        self.change = change

    def add_dialogue(self, user: User, session: Session) -> Sequence[str]:
        return self.change(session, list(super().add_dialogue(user, session)))


@pytest.fixture(scope="module")
def users() -> list[User]:
    """The tiny set; each question is asked once, so that its words name its answer."""
    made = generate(SIZES["tiny"], seed=1)
    seen: set[tuple[str, str]] = set()
    return [
        User(user.id, user.persona, tuple(_once(user.id, session, seen) for session in user.sessions)) for user in made
    ]


def _once(user: str, session: Session, seen: set[tuple[str, str]]) -> Session:
    fresh = []
    for question in session.questions:
        if (user, question.question) not in seen:
            seen.add((user, question.question))
            fresh.append(question)
    return Session(session.start, session.end, session.turns, session.points, tuple(fresh), session.unrelated)


def test_the_perfect_system_has_full_marks(users: list[User]) -> None:
    figures = run(Perfect(), users, SlotJudge()).figures()
    for name in (
        "recall",
        "weighted recall",
        "target precision",
        "accuracy",
        "FMR",
        "F1",
        "update correct",
        "QA correct",
    ):
        assert figures[name] == 1.0, name


def test_the_empty_system_has_no_precision_and_omits_everything(users: list[User]) -> None:
    outcome = run(Empty(), users, SlotJudge())
    figures = outcome.figures()
    assert figures["recall"] == 0.0
    assert figures["FMR"] == 1.0
    assert figures["target precision"] is figures["accuracy"] is figures["F1"] is None
    assert figures["update omission"] == 1.0
    assert figures["update omission (valid)"] is None
    boundary = [one for one in outcome.answers if one.question.kind == "Memory Boundary"]
    assert boundary
    assert all((one.verdict == "correct") == (one in boundary) for one in outcome.answers)
    assert figures["QA omission"] == 1 - len(boundary) / len(outcome.answers)
    assert set(attribution(outcome.answers).values()) == {0, len(outcome.answers) - len(boundary)}


def test_the_parrot_recalls_all_that_is_said_resists_nothing_and_updates_nothing(users: list[User]) -> None:
    outcome = run(Parrot(), users, SlotJudge())
    figures = outcome.figures()
    assert all(one.score == 2 for one in outcome.gold if one.point.source == "primary")
    assert all(one.score >= 1 for one in outcome.gold if one.point.fact)  # hints have no cue
    assert figures["FMR"] == 0.0
    assert figures["update correct"] == 0.0


def test_the_fabricator_loses_accuracy_alone(users: list[User]) -> None:
    off_gold = Altered(lambda session, memories: [*memories, "Ada's cousin owns a castle.", "It snowed in July."])
    outcome = run(off_gold, users, SlotJudge())
    figures = outcome.figures()
    true = len(outcome.kept) - 2 * sum(len(user.sessions) for user in users)
    assert figures["accuracy"] == pytest.approx(true / len(outcome.kept))
    assert figures["recall"] == figures["target precision"] == figures["FMR"] == 1.0


def test_resistance_falls_exactly_where_interference_is_stored(users: list[User]) -> None:
    def credulous(session: Session, memories: list[str]) -> list[str]:
        return [*memories, *(point.content for point in session.interference[:1])]

    outcome = run(Altered(credulous), users, SlotJudge())
    stored = sum(min(1, len(session.interference)) for user in users for session in user.sessions)
    assert outcome.figures()["FMR"] == pytest.approx(1 - stored / len(outcome.interference))


@pytest.mark.parametrize("system", [Perfect, Empty, Parrot])
def test_verdicts_sum_to_one(system: Callable[[], Perfect | Empty | Parrot], users: list[User]) -> None:
    figures = run(system(), users, SlotJudge()).figures()
    for what in ("update", "QA"):
        assert sum(figures.get(f"{what} {verdict}") or 0.0 for verdict in VERDICTS) == pytest.approx(1.0, abs=1e-12)


def test_neither_the_order_of_memories_nor_that_of_users_matters(users: list[User]) -> None:
    def shuffled(session: Session, memories: list[str]) -> list[str]:
        return random.Random(int(session.start)).sample(memories[1:], len(memories) - 1)

    def dropped(session: Session, memories: list[str]) -> list[str]:
        return memories[1:]

    one = run(Altered(dropped), users, SlotJudge()).figures()
    other = run(Altered(shuffled), users[::-1], SlotJudge()).figures()
    assert 0 < (one["recall"] or 0) < 1
    assert {k: v for k, v in one.items() if not k.endswith(" s")} == {
        k: v for k, v in other.items() if not k.endswith(" s")
    }


def test_weighted_recall_is_recall_where_weights_are_equal() -> None:
    def covered(score: int) -> Covered:
        return Covered(Point(0, "", "", "primary", False, (), 0.4, 0.0), score, True)

    figures = extraction(Outcome(gold=[covered(2), covered(0), covered(2), covered(2)]))
    assert figures["weighted recall"] == pytest.approx(figures["recall"])
    assert figures["recall"] == 0.75


def test_shrinking_denominators_are_shown_beside_and_not_instead(users: list[User]) -> None:
    class Shy(Perfect):
        def retrieve(self, user: User, query: str, k: int) -> Sequence[str]:
            return [query] if len(query) % 2 else []

    figures = run(Shy(), users, SlotJudge()).figures()
    assert figures["update correct (valid)"] == 1.0
    assert 0 < (figures["update correct"] or 0) < 1
    assert figures["update omission"] == pytest.approx(1 - (figures["update correct"] or 0))


def test_errors_are_attributed_to_their_first_stage(users: list[User]) -> None:
    class Deaf(Perfect):  # stores and updates well, finds nothing for a question
        def retrieve(self, user: User, query: str, k: int) -> Sequence[str]:
            return [] if query.endswith("?") else [query]

        def answer(self, user: User, question: str) -> str:
            return ""

    class Mute(Perfect):  # finds everything, says nothing
        def retrieve(self, user: User, query: str, k: int) -> Sequence[str]:
            return [point.content for session in user.sessions for point in session.gold] if "?" in query else [query]

        def answer(self, user: User, question: str) -> str:
            return ""

    class Stale(Mute):  # extracts, and never lets a new value stand
        def retrieve(self, user: User, query: str, k: int) -> Sequence[str]:
            return []

    deaf, mute, stale = (attribution(run(one, users, SlotJudge()).answers) for one in (Deaf(), Mute(), Stale()))
    assert deaf["retrieval"] > 0
    assert deaf["extraction"] == deaf["updating"] == deaf["answering"] == 0
    assert mute["answering"] > 0
    assert mute["extraction"] == mute["updating"] == mute["retrieval"] == 0
    assert stale["updating"] > 0


def test_a_stored_falsehood_that_is_said_goes_back_to_extraction(users: list[User]) -> None:
    class Credulous(Altered):
        def answer(self, user: User, question: str) -> str:
            slot = next(
                (
                    p.content
                    for s in user.sessions
                    for p in s.interference
                    if p.fact and f"{p.fact.subject}'s {p.fact.relation}?" in question
                ),
                "",
            )
            return slot or super().answer(user, question)

    outcome = run(
        Credulous(lambda session, memories: [*memories, *(p.content for p in session.interference)]), users, SlotJudge()
    )
    wrong = [one for one in outcome.answers if one.verdict == "hallucination"]
    assert any(one.stage == "extraction" for one in wrong)


def test_diff_gives_what_is_new_or_changed() -> None:
    assert diff({"1": "a", "2": "b"}, {"1": "a", "2": "c", "3": "d"}) == ["c", "d"]
    assert diff({"1": "a"}, {}) == []


def test_the_task_runs_on_a_memory_and_shows_both_views() -> None:
    result = run_task("halumem", embedder="none")
    assert [row["system"] for row in result.rows] == ["mnemos", "turns as they are"]
    derived, turns = result.rows
    assert derived["accuracy"] > turns["accuracy"]
    assert derived["FMR"] == 1.0
    assert turns["FMR"] < 0.2
    assert turns["recall"] > 0.7 > derived["recall"] > 0
    assert result.size["questions"] > 50


def test_the_task_refuses_what_it_does_not_know() -> None:
    with pytest.raises(InvalidInput, match="tiny, medium, long"):
        run_task("halumem", size="huge", embedder="none")
    with pytest.raises(InvalidInput, match="slots or model"):
        run_task("halumem", judge="oracle", embedder="none")
    with pytest.raises(InvalidInput, match="MNEMOS_MODEL"):
        run_task("halumem", judge="model", embedder="none")
    with pytest.raises(InvalidInput, match="no recipe"):
        run_task("halumem", recipe="soup", embedder="none")
