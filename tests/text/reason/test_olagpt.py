"""OlaGPT's parts: the parser, the vote, the notebook."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemos import Memory
from mnemos.core.errors import InvalidInput
from mnemos.text.reason import ExperienceMemory, Task, Voter
from mnemos.text.reason.notes import read_problems
from mnemos.text.reason.vote import read_answer, read_option

# -- the parser


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("(B)", "B"), ("B)", "B"), ("B", "B"), ("B.", "B"), ("answer is B", "B"), ('{"answer": "B"}', "B"),
        ("{Answer: B}", "B"), ("{'answer': '(B)'}", "B"), ("Therefore, the answer is: {Answer: B}.", "B"),
        ("The correct option is B.", "B"), ("Answer: option B", "B"), ("answer would be (B) 12", "B"),
        ("B) 300 marbles", "B"), ("**Answer: B**", "B"), ('{"answer": "B) 12"}', "B"),
        ("First I thought the answer is A.\nBut the answer is B.", "B"),
        ("Option A) is too small. Option C) is too large. {Answer: B}", "B"),
        ("I would take (B), since it fits", "B"), ("StepThought: {Answer: B}\n", "B"),
        ("{Answer: one of options[A,B,C,D,E]}", None), ("Either (A) or (B)", None), ("A car drives to B", None),
        ("The answer is a number", None), ("The answer is A car", None), ("", None), ("I do not know", None),
        ("answer: F", None), ('{"answer": "12"}', None), ("answer is Beta", None), ("It's A's turn", None),
    ],
)  # fmt: skip
def test_a_letter_is_read_where_it_is_stated_and_never_guessed(text: str, letter: str | None) -> None:
    assert read_option(text, 5) == letter


def test_letters_beyond_the_options_are_none() -> None:
    assert read_option("answer is D", 3) is None
    assert read_option("answer is D", 4) == "D"


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=80), st.integers(2, 26))
def test_any_text_gives_an_option_or_none(text: str, options: int) -> None:
    found = read_option(text, options)
    assert found is None or found in [chr(65 + n) for n in range(options)]
    assert read_answer(text) is None or read_answer(text)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ('So it is.\n{"answer": "Lisbon"}', "Lisbon"), ("{'answer': 'Lisbon',}", "Lisbon"), ('{"answer": 7}', "7"),
        ("The answer is Lisbon.", "Lisbon"), ("Answer: Lisbon\nas I said", "Lisbon"), ('{"answer": ""}', None),
        ("no idea", None), ("", None), ('{"answer": ["x"]}', None),
    ],
)  # fmt: skip
def test_a_short_answer_is_read_where_it_is_stated(text: str, answer: str | None) -> None:
    assert read_answer(text) == answer


@pytest.mark.parametrize("text", ["answer " * 100_000, "(" * 300_000, "answer:" + " " * 300_000, "{" * 300_000])
def test_long_nonsense_is_read_in_linear_time(text: str) -> None:
    assert read_option(text, 5) is None
    read_answer(text)


# -- the vote


@pytest.mark.parametrize(("experts", "p"), [(1, 0.6), (3, 0.7), (5, 0.55), (9, 0.8)])
def test_majority_of_independent_experts_is_condorcets(experts: int, p: float) -> None:
    voter, expected = Voter(options=2), 0.0
    for pattern in itertools.product([True, False], repeat=experts):
        chance = math.prod(p if right else 1 - p for right in pattern)
        votes = {str(n): "A" if right else "B" for n, right in enumerate(pattern)}
        expected += chance * (voter.combine(votes).answer == "A")
    tail = sum(math.comb(experts, k) * p**k * (1 - p) ** (experts - k) for k in range(experts // 2 + 1, experts + 1))
    assert expected == pytest.approx(tail)


def expected_accuracy(voter: Voter, accuracies: list[float], options: int) -> float:
    """Over every pattern of answers of independent experts whose mistakes are spread evenly; "A" is right."""
    letters = [chr(65 + n) for n in range(options)]
    total = 0.0
    for pattern in itertools.product(letters, repeat=len(accuracies)):
        chance = math.prod(
            p if letter == "A" else (1 - p) / (options - 1) for p, letter in zip(accuracies, pattern, strict=True)
        )
        votes = {str(n): letter for n, letter in enumerate(pattern)}
        total += chance * (voter.combine(votes).answer == "A")
    return total


def trained(weighting: str, accuracies: list[float], options: int) -> Voter:
    """A voter that saw each expert right in that share of ten thousand questions."""
    voter = Voter(weighting, options)  # type: ignore[arg-type]
    voter._record = {str(n): {"": (round(p * 10_000), 10_000)} for n, p in enumerate(accuracies)}
    return voter


@pytest.mark.parametrize("options", [2, 4])
@pytest.mark.parametrize(
    "accuracies", [[0.9, 0.55, 0.55], [0.95, 0.6, 0.6, 0.6], [0.8, 0.75, 0.7], [0.6, 0.6, 0.9, 0.9], [0.3, 0.5, 0.8]]
)
def test_log_odds_are_never_worse_than_heads_in_expectation(accuracies: list[float], options: int) -> None:
    heads, odds = (
        expected_accuracy(trained(weighting, accuracies, options), accuracies, options)
        for weighting in ("majority", "log-odds")
    )
    assert odds >= heads - 1e-9


@pytest.mark.parametrize("p", [0.15, 0.5, 0.9])
def test_log_odds_are_heads_where_all_are_equally_good(p: float) -> None:
    heads, odds = (trained(weighting, [p] * 4, 3) for weighting in ("majority", "log-odds"))
    for pattern in itertools.product("ABC", repeat=4):
        votes = {str(n): letter for n, letter in enumerate(pattern)}
        assert heads.combine(votes).answer == odds.combine(votes).answer


def test_who_gives_no_answer_does_not_vote() -> None:
    voter = Voter()
    assert voter.combine({"a": None, "b": None, "c": "D"}).answer == "D"
    assert voter.combine({"a": None}).answer is None
    assert voter.combine({}).share == 0.0


def test_a_tie_goes_to_who_was_right_more_often_then_to_the_first() -> None:
    voter = Voter()
    assert voter.combine({"a": "X", "b": "Y"}).answer == "X"
    voter.learn({"a": "X", "b": "Y"}, "Y")
    assert voter.combine({"a": "X", "b": "Y"}).answer == "Y"


def test_answers_are_pooled_by_normal_form() -> None:
    ballot = Voter().combine({"a": "Porto", "b": "lisbon.", "c": "Lisbon"})
    assert (ballot.answer, ballot.share) == ("lisbon.", pytest.approx(2 / 3))


def test_accuracy_is_smoothed_and_each_kinds_own() -> None:
    voter = Voter()
    assert voter.accuracy("a") == 0.5
    for _ in range(8):
        voter.learn({"a": "X"}, "X", "algebra")
        voter.learn({"a": None}, "X", "geometry")
    assert voter.accuracy("a", "geometry") < 0.2 < 0.5 == voter.accuracy("a", "never seen") < 0.8
    assert voter.accuracy("a", "algebra") > 0.8


def test_what_a_voter_learnt_survives_json() -> None:
    voter = Voter("log-odds", 4)
    voter.learn({"a": "X", "b": "Y"}, "X", "algebra")
    back = Voter.from_json(voter.to_json())
    assert back.to_json() == voter.to_json()
    assert back.weight("a", "algebra") == voter.weight("a", "algebra")
    for text in ["", "[]", "{}", '{"weighting": "x", "options": 3, "record": {}}', voter.to_json().replace("1", "-1")]:
        with pytest.raises(InvalidInput):
            Voter.from_json(text)


# -- the notebook


def filled(memory: Memory, **options: int) -> ExperienceMemory:
    notebook = ExperienceMemory(memory, **options)  # type: ignore[arg-type]
    for number, (kind, question) in enumerate([
        ("interest problem", "How much interest does a loan of 500 earn at 4 percent in 3 years?"),
        ("interest problem", "A deposit doubles at compound interest: after how many years?"),
        ("interest problem", "Which rate of interest turns 200 into 242 in two years?"),
        ("interest problem", "Two banks pay interest monthly and yearly: which pays more?"),
        ("train speed problem", "Two trains of 500 metres meet at 4 km apart: when do they pass?"),
        ("train speed problem", "A train passes a pole in 8 seconds: how long is it?"),
    ]):  # fmt: skip
        notebook.add_mistake(Task(question, ("one", "two"), kind), "A", "B", f"because of {number}")
    return notebook


@pytest.mark.parametrize("strategy", ["retrieval", "combine"])
@pytest.mark.parametrize("n", [0, 1, 3, 9])
def test_notes_come_from_the_nearest_kind_and_as_many_as_there_are(memory: Memory, strategy: str, n: int) -> None:
    notebook = filled(memory)
    found = notebook.recall(Task("How fast is the train?", (), "speed of a train"), strategy, n)  # type: ignore[arg-type]
    assert {note.task.kind for note in found} <= {"train speed problem"}
    assert len(found) == min(n, 2)


def test_retrieval_ranks_by_likeness_of_the_question(memory: Memory) -> None:
    found = filled(memory).recall(Task("A loan of 900 earns how much interest at 5 percent?", (), "interest"), n=2)
    assert found[0].explanation == "because of 0"


def test_a_note_that_does_not_help_falls_behind(memory: Memory) -> None:
    notebook, task = filled(memory), Task("After how many years does a deposit double?", (), "interest problem")
    first = notebook.recall(task, n=4)
    for _ in range(12):
        notebook.note_outcome(first[:1], right=False)
    assert notebook.recall(task, n=4)[0].id != first[0].id


@pytest.mark.parametrize("strategy", ["random", "combine"])
def test_drawn_notes_are_the_same_for_one_seed_and_differ_between_seeds(memory: Memory, strategy: str) -> None:
    notebook, task = filled(memory), Task("What is the interest?", (), "interest problem")
    draws = [tuple(note.id for note in notebook.recall(task, strategy, 3, seed)) for seed in range(12)]  # type: ignore[arg-type]
    assert draws == [tuple(note.id for note in notebook.recall(task, strategy, 3, seed)) for seed in range(12)]  # type: ignore[arg-type]
    assert len(set(draws)) > 3


@pytest.mark.parametrize("strategy", ["random", "retrieval", "combine"])
def test_the_question_itself_is_never_its_own_example(memory: Memory, strategy: str) -> None:
    notebook = filled(memory)
    task = Task("  a train passes a POLE in 8 seconds: how long is it? ", (), "train speed problem")
    found = notebook.recall(task, strategy, 9)  # type: ignore[arg-type]
    assert "because of 5" not in {note.explanation for note in found}
    assert len(found) == (5 if strategy == "random" else 1)
    assert [note.explanation for _, note in notebook.leaks([task])] == ["because of 5"]


def test_only_wrong_answers_are_noted_and_only_with_the_right_one(memory: Memory) -> None:
    notebook, task = ExperienceMemory(memory), Task("One and one?", ("1", "2"))
    assert notebook.add_mistake(task, "b", "B") is None
    with pytest.raises(InvalidInput, match="right answer"):
        notebook.add_mistake(task, "A", " ")
    assert notebook.notes() == []
    assert notebook.add_mistake(task, None, "B") is not None


def test_outcomes_are_counted_and_last(memory: Memory) -> None:
    notebook = filled(memory)
    shown = notebook.recall(Task("interest?", (), "interest problem"), n=2)
    assert {note.usefulness for note in shown} == {0.5}
    notebook.note_outcome(shown, right=True)
    notebook.note_outcome(shown[:1], right=False)
    again = {note.id: (note.wins, note.uses) for note in ExperienceMemory(memory).notes()}
    assert [again[note.id] for note in shown] == [(1, 2), (1, 1)]
    memory.forget(shown[0].id, agent="olagpt")
    notebook.note_outcome(shown, right=True)
    assert {note.id: note.uses for note in notebook.notes()}[shown[1].id] == 2


def test_a_second_mistake_on_the_same_question_replaces_the_note(memory: Memory) -> None:
    notebook = filled(memory)
    before = notebook.notes()
    notebook.note_outcome(before[:1], right=True)
    id = notebook.add_mistake(before[0].task, "A", "B", "a better explanation")
    after = notebook.notes()
    assert (id, len(after)) == (before[0].id, len(before))
    assert (after[0].explanation, after[0].uses) == ("a better explanation", 1)
    other = Task(before[0].task.question.replace("500", "600"), (), "interest problem")
    assert notebook.add_mistake(other, "A", "B") != id


def test_beyond_its_capacity_the_least_useful_note_goes(memory: Memory) -> None:
    notebook = filled(memory, capacity=6)
    notes = notebook.notes()
    notebook.note_outcome([note for note in notes if note.id != notes[2].id], right=True)
    notebook.add_mistake(Task("Something new?"), "A", "B")
    left = [note.task.question for note in notebook.notes()]
    assert len(left) == 6
    assert notes[2].task.question not in left
    assert memory.get(notes[2].id, agent="olagpt").retracted_at is not None


def test_notes_are_the_users_to_edit_and_strangers_records_are_no_notes(memory: Memory) -> None:
    notebook = filled(memory)
    note = notebook.notes()[0]
    fixed = dict(memory.get(note.id, agent="olagpt").metadata) | {"explanation": "corrected by hand"}
    memory.update(note.id, metadata=fixed, agent="olagpt")
    assert notebook.notes()[0].explanation == "corrected by hand"
    memory.add("a shopping list", kind="note", agent="olagpt")
    memory.add("broken", kind="note", agent="olagpt", metadata={"answer": 3})
    memory.add("broken", kind="note", agent="olagpt", metadata={"answer": "x", "uses": "many"})
    assert len(notebook.notes()) == 6
    assert ExperienceMemory(memory, user="somebody else").notes() == []


def test_an_unknown_kind_and_an_empty_notebook_are_no_trouble(memory: Memory) -> None:
    assert ExperienceMemory(memory).recall(Task("anything?", (), "any kind")) == []
    notebook = filled(memory)
    assert len(notebook.recall(Task("anything?", (), "weather in spring"), "combine")) == 3
    assert len(notebook.recall(Task("anything?"), "combine")) == 3


def test_wrong_requests_are_refused(memory: Memory) -> None:
    with pytest.raises(InvalidInput, match="strategy"):
        ExperienceMemory(memory).recall(Task("x"), "nearest")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="capacity"):
        ExperienceMemory(memory, capacity=0)
    with pytest.raises(InvalidInput, match="majority or log-odds"):
        Voter("loudest")  # type: ignore[arg-type]


def test_problems_are_read_from_json_lines(tmp_path: Path) -> None:
    file = tmp_path / "problems.jsonl"
    rows = [
        {"question": "One and one?", "options": ["A)1", "B)2"], "correct": "B", "rationale": "count"},
        {"question": "Capital?", "answer": "Lisbon"},
    ]
    file.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n", "utf-8")
    first, second = read_problems(file)
    assert (first.task.options, first.answer, first.rationale) == (("1", "2"), "B", "count")
    assert (second.task, second.answer) == (Task("Capital?"), "Lisbon")
    file.write_text(json.dumps(rows[0]) + "\n[1]\n", "utf-8")
    with pytest.raises(InvalidInput, match="line 2"):
        read_problems(file)
    with pytest.raises(InvalidInput, match="cannot read"):
        read_problems(tmp_path / "nowhere")


def test_simulated_experts_gain_by_weights(  # a stream, where accuracies have to be learnt on the way
) -> None:
    draw = np.random.default_rng(0)
    accuracies = np.array([0.9, 0.45, 0.4, 0.4, 0.35])
    voters = {"majority": Voter("majority"), "log-odds": Voter("log-odds")}
    right = dict.fromkeys(voters, 0)
    for _ in range(600):
        answers = ["A" if draw.random() < p else "BCDE"[draw.integers(4)] for p in accuracies]
        votes = {str(n): answer for n, answer in enumerate(answers)}
        for name, voter in voters.items():
            right[name] += voter.combine(votes).answer == "A"
            voter.learn(votes, "A")
    assert right["log-odds"] > right["majority"] + 30
