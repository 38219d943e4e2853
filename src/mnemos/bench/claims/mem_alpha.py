"""What to write can be learned from rewards: a policy trained with GRPO against fixed rules, on streams of statements.

A stream is 6 chunks of 6 statements: new facts, updates of old ones, repetitions, dated events, preferences of the
user, small talk. Afterwards the current value of every fact, the date of every event and every preference is asked of
a frozen reader, which looks where this memory keeps such things: preferences in the core (which holds six), facts in
the core or else in the *oldest* entry about them (a stale copy hurts), dates in the episodic entries.

What compression has to be paid before facts are given up can be worked out: a fact is worth 1 in 19 answers, 0.05, and
takes 3 % of the tokens, so a policy that has found the best it can do forgoes facts from β = 1.7 on, not at 0.4.

Source: Mem-alpha (2025), sections 3 and 4; table 1 (validation average 0.642, long context 0.588).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from typing import Any

import numpy as np

from mnemos.bench.results import Finding, Result, Verdict
from mnemos.bench.runner import Progress
from mnemos.learn.write_policy import Instance, Rollout, Setting, WritePolicy, roll_out, train
from mnemos.text.recipes.mem_alpha.policy import Decision, MemoryPolicy, RulePolicy, core_lines
from mnemos.text.recipes.mem_alpha.rewards import match
from mnemos.text.recipes.mem_alpha.statements import Chunk, Part, statements
from mnemos.text.recipes.mem_alpha.store import CoreSemanticEpisodicMemory, ToolCall, words

SYSTEM = "mem_alpha"

WHO = "Dana Emil Farid Greta Hugo Irene Jonas Karim Leila Marta Nils Olga".split()
WHAT = "budget height deadline score rank salary quota weight".split()
TOPICS = {
    "drink": "tea coffee cocoa juice", "colour": "red blue green white", "season": "spring summer autumn winter",
    "sport": "tennis rowing chess fencing", "fruit": "apples pears plums figs", "city": "Porto Turin Bergen Ghent",
}  # fmt: skip
DEEDS = "visited opened painted repaired photographed bought sold inspected".split()
PLACES = "harbour library bridge tower museum garden station theatre market chapel".split()
TALK = (
    "Haha yeah, that sounds great!", "Okay, thanks, talk to you later then.", "Wow, really?", "Hm, maybe.",
    "Oh nice, well done!", "How are you doing?", "Yes, I guess so.", "Sorry, what was that?",
)  # fmt: skip
SHARES = {"new": 0.30, "update": 0.15, "repeat": 0.10, "event": 0.15, "preference": 0.10, "talk": 0.20}
CORE_LIMIT = 36
"""Tokens: six statements of six."""
BASE = Setting(core_limit=CORE_LIMIT)
ARMS = {
    "trained": BASE,
    "trained, content unpaid": replace(BASE, gamma=0.0),
    "trained, compression at 0.4": replace(BASE, beta=0.4),
    "trained, compression at 2": replace(BASE, beta=2.0),
    "trained, unbounded sizes": replace(BASE, bounded=False),
}
"""Policies by how they were trained."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is trained and tested."""

    steps: int = BASE.steps
    pool: int = 160
    """Streams to train on."""
    tests: int = 64
    """Streams of other seeds."""
    long: int = 80
    """Chunks of the long streams."""
    long_tests: int = 8
    seeds: tuple[int, ...] = (0, 1, 2)


FULL = Size()
SMOKE = Size(steps=1, pool=8, tests=2, long=8, long_tests=1, seeds=(0,))


def run(progress: Progress, size: Size = FULL) -> Result:
    """Train every arm from every seed, and judge it beside fixed rules on streams that it never saw."""
    pool, tests, long = streams(size)
    rows: list[dict[str, Any]] = []
    for done, (name, seed) in enumerate((name, seed) for name in ARMS for seed in size.seeds):
        progress(f"{name}, seed {seed}", done, len(ARMS) * len(size.seeds))
        setting = replace(ARMS[name], steps=size.steps)
        policy = train(pool, read, match, setting, seed=seed).frozen()
        for where, some in (("6 chunks", tests), (f"{size.long} chunks", long)):
            figures = judge(roll_out(policy, some, bounded=setting.bounded, core_limit=CORE_LIMIT), some)
            rows.append({"system": name, "stream": where, "seed": seed, **figures})
    for name, fixed in fixed_policies().items():
        for where, some in (("6 chunks", tests), (f"{size.long} chunks", long)):
            rows.append({"system": name, "stream": where, "seed": 0, **judge(fixed(some), some)})
    return _judged(rows, size)


def streams(size: Size) -> tuple[list[Instance], list[Instance], list[Instance]]:
    """Streams to train on, to test on, and long ones to test on."""
    draws = [np.random.default_rng(seed) for seed in (1, 2, 3)]
    counts = ((draws[0], size.pool, 6), (draws[1], size.tests, 6), (draws[2], size.long_tests, size.long))
    pool, tests, long = ([stream(draw, chunks) for _ in range(many)] for draw, many, chunks in counts)
    return pool, tests, long


def fixed_policies() -> dict[str, Callable[[Sequence[Instance]], list[Rollout]]]:
    """What a trained policy is held against."""
    untrained = WritePolicy().frozen(np.random.default_rng(0))
    return {
        "untrained, sampled": lambda some: roll_out(untrained, some, core_limit=CORE_LIMIT),
        "insert everything": lambda some: [obey(InsertAll(), one) for one in some],
        "rules by hand": lambda some: [obey(RulePolicy(), one) for one in some],
    }


class InsertAll:
    """Inserts every statement as a semantic entry."""

    def act(self, chunk: Chunk, memory: CoreSemanticEpisodicMemory) -> Iterator[Decision]:
        for part, said in statements(chunk):
            yield Decision(ToolCall("insert", "semantic", said.text), part.id)


def obey(policy: MemoryPolicy, instance: Instance) -> Rollout:
    """One rollout of any policy."""
    memory = CoreSemanticEpisodicMemory(CORE_LIMIT)
    log = []
    for chunk in instance.chunks:
        calls = (decision.call for decision in policy.act(chunk, memory))
        log.append(tuple(memory.apply(call, chunk.id) for call in calls if call is not None))
    return Rollout(memory, tuple(log), ())


def stream(draw: np.random.Generator, chunks: int = 6, per_chunk: int = 6) -> Instance:
    """One stream of `chunks` x `per_chunk` statements with its questions."""
    facts: dict[tuple[str, str], int] = {}
    events: dict[tuple[str, str, str], date] = {}
    likes: dict[str, str] = {}
    said: list[str] = []
    made = []
    for number in range(chunks):
        lines = [_line(draw, facts, events, likes, said) for _ in range(per_chunk)]
        made.append(Chunk(f"chunk {number}", tuple(Part(line) for line in lines)))
    questions = [(f"{who}'s {what}", str(value)) for (who, what), value in facts.items()]
    questions += [(f"{who} {deed} the {place}", day.isoformat()) for (who, deed, place), day in events.items()]
    questions += [(f"My favourite {topic}", thing) for topic, thing in likes.items()]
    return Instance(tuple(made), tuple(questions))


def _line(
    draw: np.random.Generator, facts: dict[tuple[str, str], int], events: dict[tuple[str, str, str], date],
    likes: dict[str, str], said: list[str],
) -> str:  # fmt: skip
    kind = str(draw.choice(list(SHARES), p=list(SHARES.values())))
    new = [(who, what) for who in WHO for what in WHAT if (who, what) not in facts]
    if kind == "repeat" and said:
        return str(draw.choice(said))
    if kind in ("new", "repeat", "update"):
        changed = [*facts] if (kind == "update" and facts) or not new else new
        who, what = changed[draw.integers(len(changed))]
        old = facts.get((who, what))
        _take_back(said, f"{who}'s {what} ")
        facts[who, what] = int(draw.choice([n for n in range(10, 100) if n != old]))
        line = f"{who}'s {what} is {'' if old is None else 'now '}{facts[who, what]}."
    elif kind == "event":
        free = [(w, d, p) for w in WHO for d in DEEDS for p in PLACES if (w, d, p) not in events]
        who, deed, place = free[draw.integers(len(free))]
        events[who, deed, place] = day = date(2024, 1, 1) + timedelta(int(draw.integers(366)))
        line = f"On {day.day} {day:%B} {day.year} {who} {deed} the {place}."
    elif kind == "preference":
        topic = str(draw.choice(list(TOPICS)))
        likes.setdefault(topic, str(draw.choice(TOPICS[topic].split())))
        line = f"My favourite {topic} is {likes[topic]}."
    else:
        return str(draw.choice(TALK))
    said.append(line)
    return line


def _take_back(said: list[str], start: str) -> None:
    """What is no longer so is not repeated."""
    said[:] = [line for line in said if not line.startswith(start)]


def read(memory: CoreSemanticEpisodicMemory, question: str) -> str:
    """The frozen reader's answer; empty where it finds none."""
    about = f" {' '.join(words(question))} "
    core = [(line, line) for line in core_lines(memory)]
    if question.startswith("My favourite"):
        places = [core]
    elif "'s" in question:
        places = [core, [*memory.semantic.items()], [*memory.episodic.items()]]
    else:
        places = [core, [*memory.episodic.items()]]
    for place in places:
        for _, text in place:
            if about in f" {' '.join(words(text))} ":
                return text[:10] if text[:4].isdigit() else words(text)[-1]
    return ""


def judge(done: Sequence[Rollout], instances: Sequence[Instance]) -> dict[str, float]:
    """Mean answers, compression and tool success."""
    paid = [one.rewards(instance, read, match) for one, instance in zip(done, instances, strict=True)]
    return {
        "accuracy": float(np.mean([one.answers for one in paid])),
        "compression": float(np.mean([one.compression for one in paid])),
        "tool success": float(np.mean([one.tools.mean() for one in paid])),
    }


def _judged(rows: Sequence[dict[str, Any]], size: Size) -> Result:
    far = f"{size.long} chunks"

    def accuracy(system: str, where: str = "6 chunks") -> list[float]:
        return [row["accuracy"] for row in rows if row["system"] == system and row["stream"] == where]

    trained, everything = accuracy("trained"), accuracy("insert everything")[0]
    long, greedy = accuracy("trained", far), accuracy("trained, compression at 0.4")
    unbounded = accuracy("trained, unbounded sizes", far)
    good = [n for n, value in enumerate(trained) if value >= 0.95]
    enough = len(good) >= max(1, len(trained) - 1)
    best = float(np.mean([trained[n] for n in good])) if good else max(trained)
    passed = {
        "trained": enough,
        "insert everything": everything <= 0.4 and best - everything >= 0.5,
        "compression at 0.4": float(np.mean(trained)) - float(np.mean(greedy)) >= 0.1,
        "long streams": bool(good) and all(long[n] >= 0.95 for n in good),
        "unbounded sizes": float(np.mean(long)) - float(np.mean(unbounded)) >= 0.1,
    }
    verdict: Verdict = "holds" if all(passed.values()) else "partly" if enough else "fails"
    systems = dict.fromkeys(row["system"] for row in rows)
    measures = {f"accuracy, {name}": float(np.mean(accuracy(name))) for name in systems}
    measures |= {f"accuracy on long streams, {name}": float(np.mean(accuracy(name, far))) for name in systems}
    measures |= {f"passed: {name}": float(value) for name, value in passed.items()}
    return Result(
        name=SYSTEM,
        measures=measures,
        rows=rows,
        config={**asdict(size), "training": asdict(BASE)},
        size={"streams": size.tests, "long streams": size.long_tests, "training streams": size.pool},
        seeds=list(size.seeds),
        claim=Finding(
            statement="a policy trained with the four rewards answers at least 0.95 on all seeds but one, 0.5 above "
            "inserting everything, and as much on streams 13 times longer; paying 0.4 for compression costs at least "
            "0.1, and so do features that grow with the memory, on the long streams",
            paper="validation average 0.642 (4B policy), 0.588 (long context), 0.389 (untrained)",
            ours=f"accuracy {float(np.mean(trained)):.3f}, long streams {float(np.mean(long)):.3f}",
            baseline=f"insert everything {everything:.3f}; compression at 0.4 {float(np.mean(greedy)):.3f}; unbounded "
            f"sizes on long streams {float(np.mean(unbounded)):.3f}",
            verdict=verdict,
        ),
    )
