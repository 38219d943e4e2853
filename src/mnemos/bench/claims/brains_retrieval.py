"""Cases teach without retraining, and splits by visit flatter: BRAINS on a generator shaped like OASIS-2.

a) Folds by subject against folds by visit: how much a nearest-neighbour classifier gains by knowing the same person.
b) Another site (three MMSE points less, larger brain volumes): what cases of that site add where no parameter moves.
c) At home: whether reading cases costs anything against the plain model.

In b) the random offsets of the episodic training move every column that varies. With marks and categories left in
place the fusion came out 0.055 above the one that is not episodic on these seeds, short of the line; moving all of
them was chosen on seeds 10 to 13. Beside it stand two plainer ways to use the cases, which do better than the fusion.

Source: BRAINS, 2025 (77.30 % with retrieval, 45.4 % without, both by a secondary source). Not a medical device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mnemos.bench.results import Finding, Result, Verdict
from mnemos.bench.runner import Progress
from mnemos.learn.case_fusion import CaseFusion, train_fusion
from mnemos.text.recipes.brains.decide import Case
from mnemos.text.recipes.brains.memory import CaseMemory
from mnemos.text.recipes.brains.oasis import OASIS
from mnemos.text.recipes.brains.space import raw

SYSTEM = "brains_retrieval"
_YEAR = 365.25 * 86400


@dataclass(frozen=True, slots=True)
class Size:
    """How much is generated and trained."""

    subjects: int = 150
    folds: int = 5
    new: tuple[int, ...] = (10, 50, 100, 200)
    """Subjects of the other site among the cases."""
    tests: int = 200
    """Its subjects to be judged."""
    steps: int = 150
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)


FULL = Size()
SMOKE = Size(subjects=40, folds=2, new=(5, 20), tests=10, steps=3, seeds=(0,))


def site(
    draw: np.random.Generator,
    subjects: int,
    name: str = "A",
    mmse: float = 0.0,
    nwbv: float = 0.0,
    visits: float = 0.35,
) -> list[Case]:
    """The visits of `subjects` people (72 : 64 : 14 well, demented, converting), in order.

    Args:
        mmse, nwbv: how far this site's values lie off.
        visits: chance of each of three further visits.
    """
    share = np.array([72, 64, 14]) / 150
    kinds = np.repeat(np.arange(3), np.diff(np.round(np.cumsum([0, *share]) * subjects).astype(int)))
    made = []
    for number, kind in enumerate(draw.permutation(kinds)):
        demented, converting, male = float(kind == 1), float(kind == 2), float(draw.random() < 0.43)
        age = float(np.clip(draw.normal(76, 7.5), 60, 96))
        education = float(np.clip(draw.normal(14.6 - 0.9 * demented, 2.8), 6, 23))
        ses = float(np.clip(np.round(draw.normal(2.5 + 0.25 * demented, 1.1)), 1, 5))
        etiv = float(draw.normal(1390 + 165 * male, 130))
        volume = draw.normal(0.741 - 0.022 * demented - 0.012 * converting - 0.0025 * (age - 76), 0.027)
        score = (29.2, 24.5, 28.7)[kind] + draw.normal(0, 1.2) * (2.2 if demented else 1)
        gaps = draw.uniform(1.2, 2.2, 1 + draw.binomial(3, visits))
        gaps[0] = 0
        for visit, years in enumerate(np.cumsum(gaps).tolist()):
            points = score - (0.15, 1.2, 0.8)[kind] * years + draw.normal(0, 1) + mmse
            profile = {
                "age": age + years, "sex": "male" if male else "female", "education": education,
                "SES": None if draw.random() < 0.05 else ses,
                "MMSE": None if draw.random() < 0.005 else float(np.clip(np.round(points), 4, 30)),
                "eTIV": etiv, "nWBV": float(volume - 0.003 * years + nwbv), "ASF": 1755 / etiv,
            }  # fmt: skip
            outcome = OASIS.outcomes[int(kind > 0)]
            made.append(Case(f"{name}{number}.{visit}", profile, outcome, f"{name}{number}", years * _YEAR, name))
    return made


def run(progress: Progress, size: Size = FULL) -> Result:
    """a), b) and c) for every seed."""
    rows: list[dict[str, Any]] = []
    for done, seed in enumerate(size.seeds):
        progress(f"folds, seed {seed}", 2 * done, 2 * len(size.seeds))
        cases = site(np.random.default_rng(seed), size.subjects)
        rows += [{"seed": seed, **row} for row in folds(cases, size, seed)]
        progress(f"another site, seed {seed}", 2 * done + 1, 2 * len(size.seeds))
        rows += [{"seed": seed, **row} for row in another_site(cases, size, seed)]
    return _judged(rows, size)


def folds(cases: Sequence[Case], size: Size, seed: int) -> list[dict[str, Any]]:
    """Accuracy by subject-wise and by visit-wise folds."""
    draw = np.random.default_rng(100 + seed)
    subjects = {subject: n for n, subject in enumerate(dict.fromkeys(case.subject for case in cases))}
    of_subject = draw.permutation(len(subjects)) % size.folds
    by_subject = np.array([of_subject[subjects[case.subject]] for case in cases])
    by_visit = draw.permutation(len(cases)) % size.folds
    rows: list[dict[str, Any]] = []
    for split, fold in (("by subject", by_subject), ("by visit", by_visit)):
        said: dict[str, list[tuple[str, str]]] = {}
        for one in range(size.folds):
            known = [case for case, f in zip(cases, fold, strict=True) if f != one]
            asked = [case for case, f in zip(cases, fold, strict=True) if f == one]
            for name, labels in _fold(known, asked, size, seed, by_subject=split == "by subject").items():
                said.setdefault(name, []).extend((label, c.outcome) for label, c in zip(labels, asked, strict=True))
        rows += [{"system": name, "split": split, **scores(pairs)} for name, pairs in said.items()]
    return rows


def _fold(
    known: list[Case], asked: list[Case], size: Size, seed: int, by_subject: bool
) -> dict[str, list[str]]:  # fmt: skip
    plain, memory = CaseMemory(OASIS).add_all(known), CaseMemory(OASIS).add_all(known).learn()
    most = max(OASIS.outcomes, key=[case.outcome for case in known].count)
    labels: dict[str, list[str]] = {
        "majority": [most for _ in asked],
        "1 nearest": [plain.similar(case.profile, 1)[0].case.outcome for case in asked],
        "logistic": [_best(memory.predict(case.profile).base) for case in asked],
        "vote of 15": [_best(memory.predict(case.profile).probabilities) for case in asked],
    }
    if by_subject:
        stacked = memory.stacking()
        fusion = train_fusion(memory.held_out(), len(OASIS.outcomes), steps=size.steps, seed=seed)
        labels["stacking"] = [_best(memory.predict(case.profile, fuse=stacked).probabilities) for case in asked]
        labels["fusion"] = [_best(memory.predict(case.profile, fuse=fusion.decide).probabilities) for case in asked]
    return labels


def scores(pairs: Sequence[tuple[str, str]]) -> dict[str, float]:
    """Accuracy, and the mean over the outcomes of how often each is recognised, of (said, true) pairs."""
    recalls = [np.mean([label == truth for label, truth in pairs if truth == outcome])
               for outcome in sorted({truth for _, truth in pairs})]  # fmt: skip
    return {"accuracy": float(np.mean([a == b for a, b in pairs])), "balanced accuracy": float(np.mean(recalls))}


def another_site(home: Sequence[Case], size: Size, seed: int) -> list[dict[str, Any]]:
    """Accuracy on unseen subjects of a site whose values lie off; everything but the last row was trained at home."""
    draw = np.random.default_rng(200 + seed)
    shifted = {"mmse": -3.0, "nwbv": 0.03}
    there = site(draw, max(size.new), "B", **shifted)
    asked = site(draw, size.tests, "T", **shifted)
    memory = CaseMemory(OASIS).add_all(home).learn()
    some, state = memory.held_out(), memory._state()
    profiles = raw(OASIS, [case.profile for case in asked])
    frozen = [OASIS.outcomes[n] for n in state.probabilities(profiles).argmax(1)]
    layers = {
        name: train_fusion(some, len(OASIS.outcomes), episodic=episodic, steps=size.steps, seed=seed)
        for name, episodic in (("fusion", True), ("fusion, not episodic", False))
    }
    rows = [_row("logistic, frozen", 0, frozen, asked)]
    rows += [_row(f"{name}, no cases", 0, _alone(layer, profiles, state.scale.filled), asked)
             for name, layer in layers.items()]  # fmt: skip
    for subject in dict.fromkeys(case.subject for case in home):
        memory.forget(subject=subject)
    order = list(dict.fromkeys(case.subject for case in there))
    before = 0
    for many in size.new:
        fresh = set(order[before:many])
        memory.add_all(case for case in there if case.subject in fresh)
        before = many
        for name, layer in layers.items():
            said = [_best(memory.predict(case.profile, fuse=layer.decide).probabilities) for case in asked]
            rows.append(_row(name, many, said, asked))
        told = [memory.predict(case.profile) for case in asked]
        rows.append(_row("vote of 15", many, [_best(one.probabilities) for one in told], asked))
        rows.append(_row("logistic, centred by the cases", many, [_best(one.base) for one in told], asked))
    again = memory.learn()
    said = [_best(again.predict(case.profile).base) for case in asked]
    return [*rows, _row("logistic, retrained there", max(size.new), said, asked)]


def _alone(layer: CaseFusion, profiles: Any, filled: Any) -> list[str]:
    """What a layer says without any case."""
    x = layer._scaled(filled(profiles))
    logits, _ = layer(x, x[:, None][:, :0], x[:, :0].long())
    return [OASIS.outcomes[n] for n in logits.argmax(-1).tolist()]


def _best(probabilities: Mapping[str, float]) -> str:
    return max(probabilities, key=lambda name: probabilities[name])


def _row(name: str, cases: int, said: Sequence[str], asked: Sequence[Case]) -> dict[str, Any]:
    pairs = [(label, case.outcome) for label, case in zip(said, asked, strict=True)]
    return {"system": name, "split": "another site", "cases": cases, **scores(pairs)}


def _judged(rows: Sequence[dict[str, Any]], size: Size) -> Result:
    many = max(size.new)

    def mean(system: str, split: str, cases: int | None = None) -> float:
        found = [r["accuracy"] for r in rows
                 if r["system"] == system and r["split"] == split and r.get("cases") == cases]  # fmt: skip
        return float(np.mean(found))

    gap = mean("1 nearest", "by visit") - mean("1 nearest", "by subject")
    frozen = mean("logistic, frozen", "another site", 0)
    fusion, dull = (mean(name, "another site", many) for name in ("fusion", "fusion, not episodic"))
    home, plain = mean("fusion", "by subject"), mean("logistic", "by subject")
    passed = {
        "split by visit flatters by 0.12": gap >= 0.12,
        "cases add 0.04 to the frozen base": fusion - frozen >= 0.04,
        "episodic above not episodic by 0.06": fusion - dull >= 0.06,
        "at home within 0.03 of the base": home - plain >= -0.03,
    }
    verdict: Verdict = "holds" if all(passed.values()) else "partly" if any(passed.values()) else "fails"
    measures = {}
    for row in rows:
        cases = row.get("cases")
        where = f"{row['split']}, {row['system']}" + (f", {cases} subjects" if cases else "")
        measures[where] = mean(row["system"], row["split"], cases)
    measures |= {f"passed: {name}": float(value) for name, value in passed.items()}
    return Result(
        name=SYSTEM,
        measures=measures,
        rows=rows,
        config=asdict(size),
        size={"subjects": size.subjects, "subjects elsewhere": many, "tests": size.tests},
        seeds=list(size.seeds),
        claim=Finding(
            statement="splitting by visit instead of by subject flatters one nearest neighbour by at least 0.12; with "
            f"{many} subjects of another site as cases, and nothing retrained, a fusion layer that was trained "
            "episodically is at least 0.04 above the frozen base and 0.06 above one that was not; at home it stays "
            "within 0.03 of the base",
            paper="77.30 % with retrieval, 45.4 % without (secondary source)",
            ours=f"gap {gap:.3f}; another site {fusion:.3f}; at home {home:.3f}",
            baseline=f"frozen base {frozen:.3f}, not episodic {dull:.3f}, base at home {plain:.3f}",
            verdict=verdict,
        ),
    )
