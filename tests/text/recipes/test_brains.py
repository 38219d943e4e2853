"""BRAINS: exact retrieval, nothing of the same subject, statistics of the cases in force, deletion everywhere."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemos.core.clock import FixedClock, parse_time
from mnemos.core.errors import InvalidInput, NotFound, StoreBusy, StoreDamaged, StoreForeign, StoreReadOnly
from mnemos.text import CaseMemory as public
from mnemos.text.recipes.brains import (
    Case,
    CaseMemory,
    Categorical,
    Evidence,
    Numeric,
    Product,
    Schema,
    vote,
)
from mnemos.text.recipes.brains.decide import Calibration, entropy, shares
from mnemos.text.recipes.brains.oasis import OASIS, load_oasis
from mnemos.text.recipes.brains.space import Scale, fit_logistic, names, raw

SCHEMA = Schema(
    (Numeric("a", "mm", -100, 100), Numeric("b"), Categorical("kind", ("x", "y", "z"))), ("well", "ill"), version="7"
)


def case(draw: np.random.Generator, n: int, ill: bool | None = None) -> Case:
    ill = bool(draw.random() < 0.5) if ill is None else ill
    profile = {
        "a": float(draw.normal(2.0 * ill)), "b": None if draw.random() < 0.1 else float(draw.normal(-1.0 * ill, 30)),
        "kind": str(draw.choice(["x", "y", "z"], p=[0.6, 0.3, 0.1] if ill else [0.1, 0.3, 0.6])),
    }  # fmt: skip
    return Case(f"c{n}", profile, SCHEMA.outcomes[ill], f"s{n // 2}")


def filled(n: int = 60, seed: int = 0, path: Path | None = None) -> CaseMemory:
    draw = np.random.default_rng(seed)
    return CaseMemory(SCHEMA, path).add_all(case(draw, m) for m in range(n))


def brute(memory: CaseMemory, profile: dict[str, Any], k: int, subject: str = "") -> list[str]:
    """Top k by plain loops."""
    cases = memory.cases()
    rows = raw(SCHEMA, [c.profile for c in cases])
    scale = Scale.of(SCHEMA, rows)
    query = scale(raw(SCHEMA, [SCHEMA.read(profile)]))[0]
    scored = []
    for number, (one, row) in enumerate(zip(cases, scale(rows), strict=True)):
        if not (subject and one.subject == subject):
            cosine = float(row @ query) / max(1e-300, float(np.linalg.norm(row) * np.linalg.norm(query)))
            scored.append((-round(cosine, 9), number, one.id))
    return [id for _, _, id in sorted(scored)[:k]]


# -- retrieval -------------------------------------------------------------------------------


def test_the_call_of_the_front_page() -> None:
    found = public(SCHEMA).add({"a": 1, "kind": "x"}, "ill").add({"a": -1}, "well").similar({"a": 0.9}, k=5)
    assert [one.case.outcome for one in found] == ["ill", "well"]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-3, 3), st.sampled_from(["x", "y", None])), min_size=1, max_size=25),
    st.lists(st.integers(0, 24), max_size=8), st.integers(1, 30),
)  # fmt: skip
def test_similar_is_the_exact_top_k_with_older_first_among_equals_after_any_adds_and_removals(
    rows: list[tuple[int, str | None]], removed: list[int], k: int
) -> None:
    memory = CaseMemory(SCHEMA)
    for n, (a, kind) in enumerate(rows):
        memory.add({"a": a, "kind": kind}, "ill", id=str(n), subject=str(n % 3))
        if n % 4 == 0:
            memory.similar({"a": 1}, 2)
    for n in dict.fromkeys(removed):
        if n < len(rows) and len(memory) > 1:
            memory.forget(str(n))
    query = {"a": 1, "kind": "x"}
    assert [one.case.id for one in memory.similar(query, k)] == brute(memory, query, k)
    assert [one.case.id for one in memory.similar(query, k, subject="1")] == brute(memory, query, k, "1")


def test_equal_profiles_stand_in_order_of_adding_wherever_they_are() -> None:
    memory = filled(40)
    for n in range(9):
        memory.add({"a": 1.1, "b": 0.3, "kind": "z"}, "ill", id=f"same{n}")
    found = memory.similar({"a": 1.1, "b": 0.3, "kind": "z"}, 9)
    assert [one.case.id for one in found] == [f"same{n}" for n in range(9)]
    assert all(one.similarity == pytest.approx(1) for one in found)


def test_the_unit_of_a_column_changes_nothing() -> None:
    draw = np.random.default_rng(3)
    cases = [case(draw, n) for n in range(50)]
    one, two = CaseMemory(SCHEMA).add_all(cases).learn(), CaseMemory(SCHEMA)
    for c in cases:
        b = c.profile["b"]
        two.add({**c.profile, "b": None if b is None else float(b) * 1000 + 5}, c.outcome, subject=c.subject, id=c.id)
    two.learn()
    a = one.predict({"a": 1, "b": 7.0})
    b_ = two.predict({"a": 1, "b": 7005.0})
    assert [n.case.id for n in a.neighbours] == [n.case.id for n in b_.neighbours]
    assert list(a.probabilities.values()) == pytest.approx(list(b_.probabilities.values()), abs=1e-6)
    assert list(a.base.values()) == pytest.approx(list(b_.base.values()), abs=1e-3)


def test_no_case_of_the_subject_decides_about_it() -> None:
    memory = filled(60).learn()
    for one in memory.cases():
        for near in memory.similar(one.profile, 60, subject=one.subject):
            assert near.case.subject != one.subject
        decision = memory.predict(one.profile, subject=one.subject)
        assert one.subject not in {near.case.subject for near in decision.neighbours}
    some = memory.held_out(15)
    assert not (some.subjects[some.chosen][:, None] == some.subjects[some.nearest]).any()


def test_a_shift_of_all_cases_and_the_query_changes_nothing() -> None:
    """Centring and scaling are those of the cases in force, not of whoever was there first."""
    draw = np.random.default_rng(5)
    cases = [case(draw, n) for n in range(40)]
    here = CaseMemory(SCHEMA).add_all(cases)
    there = CaseMemory(SCHEMA).add_all(
        Case(c.id, {**c.profile, "a": float(c.profile["a"] or 0) + 50}, c.outcome, c.subject) for c in cases
    )
    one, two = here.similar({"a": 1.5, "b": 2}, 10), there.similar({"a": 51.5, "b": 2}, 10)
    assert [n.case.id for n in one] == [n.case.id for n in two]


def test_missing_values_are_filled_with_the_median_and_marked() -> None:
    profiles = [SCHEMA.read(p) for p in ({"a": 1, "b": 10}, {"a": 2, "b": 30}, {"a": None, "b": 80, "kind": "y"})]
    rows = raw(SCHEMA, profiles)
    assert names(SCHEMA) == ["a", "a missing", "b", "b missing", "kind x", "kind y", "kind z"]
    assert rows[2].tolist()[1:] == [1, 80, 0, 0, 1, 0]
    scale = Scale.of(SCHEMA, rows)
    assert scale.filled(rows)[2, 0] == 1.5
    assert scale(rows)[:, 2].mean() == pytest.approx(0)
    assert np.isfinite(Scale.of(SCHEMA, raw(SCHEMA, [SCHEMA.read({})]))(raw(SCHEMA, [SCHEMA.read({})]))).all()


# -- decisions -------------------------------------------------------------------------------


def test_the_vote_is_weighted_by_distance_over_its_mean() -> None:
    evidence = Evidence(
        np.zeros(2), np.zeros((3, 2)), np.array([1, 0, 1]), np.array([0.9, 0.5, 0.1]), np.array([0.5, 0.5])
    )
    raw_weights = [math.exp(-d / 0.5) for d in (0.1, 0.5, 0.9)]
    probabilities, weights = vote(evidence)
    assert weights.tolist() == pytest.approx([w / sum(raw_weights) for w in raw_weights])
    assert probabilities[1] == pytest.approx(weights[0] + weights[2])
    assert shares(np.ones(4)).tolist() == [0.25] * 4  # all at distance zero
    none = Evidence(np.zeros(2), np.zeros((0, 2)), np.empty(0, np.int64), np.empty(0), np.array([0.3, 0.7]))
    assert vote(none)[0].tolist() == [0.3, 0.7]


def test_the_base_model_is_softmax_regression() -> None:
    draw = np.random.default_rng(0)
    x = draw.standard_normal((300, 3))
    truth = np.array([[2.0, -2], [0, 0], [0, 0]])
    y = (draw.random(300) < 1 / (1 + np.exp(x @ (truth[:, 0] - truth[:, 1])))).astype(np.int64)
    model = fit_logistic(x, y, 2, l2=1e-3)
    assert model(x).sum(1) == pytest.approx(1)
    assert (model.weights[0, 1] - model.weights[0, 0]) == pytest.approx(-4, abs=1.2)
    assert model.importance()[0] > 5 * model.importance()[1:].max()


def test_a_decision_accounts_for_itself() -> None:
    memory = filled(60).learn()
    decision = memory.predict({"a": 2.5, "kind": "x"}, k=7)
    told = json.loads(json.dumps(decision.as_dict()))
    assert told["label"] == "ill"
    assert told["schema"] == "7"
    assert "Not a medical device" in told["notice"]
    assert len(told["cases"]) == 7
    assert sum(one["weight"] for one in told["cases"]) == pytest.approx(1, abs=1e-3)
    assert all(len(one["differences"]) == 3 for one in told["cases"])
    first = decision.neighbours[0]
    column, off = first.differences[0]
    assert abs(off) == max(abs(d) for _, d in first.differences)
    assert column in names(SCHEMA)
    assert decision.support == pytest.approx(np.mean([n.similarity for n in decision.neighbours]))
    assert 0 <= decision.disagreement <= 1


def test_nothing_similar_known_is_an_abstention_and_not_a_guess() -> None:
    memory = filled(80).learn()
    assert memory.predict({"a": 1, "b": 3, "kind": "x"}).label is not None
    strange = memory.predict({"a": 99, "b": 5000.0})
    assert strange.abstains
    assert strange.as_dict()["label"] is None
    alone = CaseMemory(SCHEMA).add({"a": 1}, "ill", subject="me")
    assert alone.predict({"a": 1}, subject="me").abstains
    assert alone.predict({"a": 1}, subject="me").neighbours == ()


def test_conformal_sets_cover_nine_in_ten_on_exchangeable_cases() -> None:
    covered = []
    for seed in range(4):
        memory, draw = filled(200, seed).learn(), np.random.default_rng(1000 + seed)
        for n in range(100):
            new = case(draw, n)
            covered.append(new.outcome in memory.predict(new.profile, alpha=0.1).among)
    assert np.mean(covered) >= 0.87
    assert np.mean(covered) < 0.99  # and not by naming everything


def test_a_set_that_may_miss_less_is_larger() -> None:
    calibration = Calibration(np.linspace(0, 1, 21), np.zeros(21), np.zeros(21))
    assert calibration.threshold(0.3) < calibration.threshold(0.1)
    assert calibration.threshold(0.01) == math.inf
    assert entropy(np.array([0, 1]), 2) == pytest.approx(1)
    assert entropy(np.array([1, 1]), 2) == 0


def test_cases_count_without_retraining_and_stacking_uses_both() -> None:
    memory = filled(60).learn()
    before = memory.predict({"a": 0.5, "kind": "y"})
    for n in range(20):
        memory.add({"a": 0.5, "kind": "y", "b": n / 10}, "well", id=f"new{n}")
    after = memory.predict({"a": 0.5, "kind": "y"})
    assert after.probabilities["well"] > before.probabilities["well"]
    stacked = memory.predict({"a": 2.5, "kind": "x"}, fuse=memory.stacking())
    assert sum(stacked.probabilities.values()) == pytest.approx(1)
    assert stacked.label == "ill"


def test_earlier_visits_tell_their_change_per_year_and_later_ones_never_count() -> None:
    memory = filled(40)
    for year, a in ((2020, 4.0), (2022, 2.0), (2026, 90.0)):
        memory.add({"a": a, "b": None}, "ill", subject="ana", at=f"{year}-01-01", id=str(year))
    decision = memory.predict({"a": 1.0, "b": 3}, subject="ana", at="2024-01-01")
    assert [visit.case.id for visit in decision.history] == ["2020", "2022"]
    assert decision.history[0].change == {"a": pytest.approx(-0.75, abs=0.01)}
    assert decision.history[1].years == pytest.approx(2, abs=0.01)
    assert not {"2020", "2022", "2026"} & {n.case.id for n in decision.neighbours}
    assert memory.predict({"a": 1.0}, subject="ana").history == ()  # without a time nothing is earlier


@pytest.mark.parametrize(
    ("profile", "says"),
    [
        ({"a": 101}, "outside -100 to 100"), ({"a": "tall"}, "give a number in mm"), ({"a": True}, "number"),
        ({"a": math.inf}, "number"), ({"kind": "q"}, "x, y, z"), ({"c": 1}, "no column 'c'"), ([1], "mapping"),
    ],
)  # fmt: skip
def test_a_profile_that_cannot_be_read_says_why_and_changes_nothing(profile: Any, says: str) -> None:
    memory = filled(12)
    with pytest.raises(InvalidInput, match=says):
        memory.add(profile, "ill")
    with pytest.raises(InvalidInput, match=says):
        memory.similar(profile)
    assert len(memory) == 12


def test_what_cannot_be_asked_says_why() -> None:
    memory, empty = filled(12), CaseMemory(SCHEMA)
    assert empty.similar({"a": 1}) == []
    for call, says in (
        (lambda: memory.add({}, "dead"), "well, ill"), (lambda: memory.similar({}, 0), "at least 1"),
        (lambda: memory.similar({}, True), "at least 1"), (lambda: memory.predict({}, alpha=0), "alpha"),
        (lambda: empty.predict({}), "no cases"), (lambda: empty.learn(), "two outcomes"),
        (lambda: empty.stacking(), "too few"), (lambda: memory.forget(), "forget what"),
        (lambda: memory.forget("c1", subject="s0"), "forget what"), (lambda: memory.add({}, "ill", id="c1"), "taken"),
        (lambda: memory.add_all([Case("n", {}, "ill"), Case("n", {}, "ill")]), "case 1"),
        (lambda: memory.add_all([{"a": 1}]), "give a Case"),  # type: ignore[list-item]
    ):  # fmt: skip
        with pytest.raises(InvalidInput, match=says):
            call()
    assert len(memory) == 12
    with pytest.raises(NotFound, match="nobody"):
        memory.forget(subject="nobody")
    with pytest.raises(NotFound, match="no case"):
        memory.get("nope")


# -- keeping and forgetting ------------------------------------------------------------------


def test_a_reopened_memory_says_the_same(tmp_path: Path) -> None:
    memory = filled(30, path=tmp_path / "cases.jsonl").learn()
    memory.add({"a": 1}, "ill", at="2024-05-01", source="clinic")
    again = CaseMemory(SCHEMA, tmp_path / "cases.jsonl")
    assert again.cases() == memory.cases()
    assert again.cases()[-1].at == parse_time("2024-05-01")
    assert again.predict({"a": 1, "b": 2}).as_dict() == memory.predict({"a": 1, "b": 2}).as_dict()
    again.add({"a": 3}, "well")
    assert len(CaseMemory(SCHEMA, tmp_path / "cases.jsonl")) == 32


def test_who_is_forgotten_is_as_if_they_had_never_been_there(tmp_path: Path) -> None:
    path = tmp_path / "cases.jsonl"
    memory = filled(40, path=path)
    memory.add({"a": 7.7251}, "ill", subject="Zelnivar", id="z1").add({"a": 7.7252}, "ill", subject="Zelnivar")
    assert memory.predict({"a": 7.7, "b": 1}).neighbours
    assert memory.forget(subject="Zelnivar") == 2
    never = filled(40)
    query = {"a": 7.7, "b": 1, "kind": "x"}
    assert memory.predict(query).as_dict() == never.predict(query).as_dict()
    some = memory.held_out()
    assert 7.7251 not in some.rows
    for file in tmp_path.iterdir():
        assert b"Zelnivar" not in file.read_bytes()
        assert b"7.725" not in file.read_bytes()
    with pytest.raises(NotFound):
        memory.get("z1")
    assert "Zelnivar" not in repr(vars(memory))
    assert [file.name for file in tmp_path.iterdir()] == ["cases.jsonl"]


def test_ids_are_made_anew_by_a_seeded_memory_that_is_opened_again(tmp_path: Path) -> None:
    clock = FixedClock("2025-06-01")
    for _ in range(2):
        CaseMemory(SCHEMA, tmp_path / "c", clock=clock, seed=1).add({"a": 1}, "ill")
    assert len({c.id for c in CaseMemory(SCHEMA, tmp_path / "c").cases()}) == 2


def test_a_line_that_a_crash_cut_short_is_dropped_and_the_rest_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "c"
    filled(5, path=path)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"id":"half","prof')
    memory = CaseMemory(SCHEMA, path)
    assert len(memory) == 5
    memory.add({"a": 1}, "ill")
    assert len(CaseMemory(SCHEMA, path)) == 6
    path.write_bytes(whole.replace(b'"profile"', b'"prfile"', 1))
    with pytest.raises(StoreDamaged, match="line 2"):
        CaseMemory(SCHEMA, path)


def test_foreign_files_other_schemas_and_other_writers_are_refused(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("hello\n")
    with pytest.raises(StoreForeign):
        CaseMemory(SCHEMA, tmp_path / "f")
    path = tmp_path / "c"
    one = filled(5, path=path)
    with pytest.raises(InvalidInput, match="another schema"):
        CaseMemory(Schema(SCHEMA.columns, ("a", "b")), path)
    CaseMemory(SCHEMA, path).add({"a": 1}, "ill")
    with pytest.raises(StoreBusy, match="another process"):
        one.add({"a": 1}, "ill")
    assert len(one) == 5
    with pytest.raises(StoreReadOnly):
        CaseMemory(SCHEMA, tmp_path / "no folder" / "c").add({"a": 1}, "ill")


# -- schema and the OASIS table --------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Numeric("a", low=2, high=2), "low must be below high"), (lambda: Categorical("k", ("x",)), "two"),
        (lambda: Schema((), ("a", "b")), "at least one"), (lambda: Schema((Numeric("a"),) * 2, ("a", "b")), "own"),
        (lambda: Schema((Numeric("a"),), ("a",)), "outcomes"),
        (lambda: Schema((Numeric("a"),), ("a", "b"), laws=(Product("a", "c", 1),)), "'c'"),
    ],
)  # fmt: skip
def test_a_schema_that_makes_no_sense_is_refused(make: Any, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        make()


def test_a_profile_in_words_names_units_and_leaves_out_what_is_missing() -> None:
    assert SCHEMA.text({"a": 3.5, "kind": "y"}) == "a 3.5 mm, kind y"
    assert "MMSE 27 points" in OASIS.text({"age": 76, "MMSE": 27})


HEAD = "Subject ID,MRI ID,Group,Visit,MR Delay,M/F,Hand,Age,EDUC,SES,MMSE,CDR,eTIV,nWBV,ASF"
ROWS = [
    "P1,P1_1,Nondemented,1,0,M,R,80,14,2,29,0,1500,0.70,1.170",
    "P1,P1_2,Nondemented,2,400,M,R,81,14,,28,0.5,1500,0.69,1.170",
    "P2,P2_1,Demented,1,0,F,R,70,12,3,22,1,1300,0.68,1.350",
]


def table(tmp_path: Path, *rows: str) -> Path:
    path = tmp_path / "oasis.csv"
    path.write_text("\n".join([HEAD, *rows]) + "\n")
    return path


def test_the_loader_gives_cases_without_what_leaks_the_outcome(tmp_path: Path) -> None:
    cases, wrong = load_oasis(table(tmp_path, *ROWS))
    assert wrong == []
    assert [(c.id, c.subject, c.outcome) for c in cases] == [
        ("P1_1", "P1", "unimpaired"), ("P1_2", "P1", "impaired"), ("P2_1", "P2", "impaired"),
    ]  # fmt: skip
    assert not {"CDR", "Group", "Visit", "Hand"} & set(cases[0].profile)
    assert cases[1].profile["SES"] is None
    assert cases[1].at - cases[0].at == 400 * 86400  # type: ignore[operator]
    assert len(CaseMemory(OASIS).add_all(cases)) == 3


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("P3,P3_1,X,1,0,M,R,80,14,2,31,0,1500,0.70,1.170", "MMSE is 31"),
        ("P3,P3_1,X,1,0,M,R,80,14,2,29,0,1500,0.70,1.300", "off 1755"),
        ("P1,P1_3,X,3,900,M,R,79,14,2,29,0,1500,0.70,1.170", "age falls"),
        ("P3,P3_1,X,1,0,Q,R,80,14,2,29,0,1500,0.70,1.170", "sex is 'Q'"),
        ("P3,P3_1,X,1,0,M,R,80,14,2,29,,1500,0.70,1.170", "row 3"),
        ("P3,P3_1,X,1,soon,M,R,80,14,2,29,0,1500,0.70,1.170", "row 3"),
    ],
)
def test_the_loader_flags_what_cannot_be(tmp_path: Path, row: str, says: str) -> None:
    _, wrong = load_oasis(table(tmp_path, *ROWS, row))
    assert len(wrong) == 1
    assert says in wrong[0]


def test_a_table_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InvalidInput, match="no column 'Subject ID'"):
        load_oasis(tmp_path / "x.csv")
    with pytest.raises(InvalidInput, match="cannot be read"):
        load_oasis(tmp_path / "none.csv")
