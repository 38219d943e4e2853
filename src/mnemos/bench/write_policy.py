"""Train `src/mnemos/text/recipes/mem_alpha/policy.json`, the write policy of Mem-alpha that is shipped.

    python -m mnemos.bench.write_policy [--seed 0]

GRPO with all four rewards, over the streams of `mnemos.bench.claims.mem_alpha` made more like talk: between their
statements stand things told once, in many words and often in the first person, and wordier small talk. The report is
on streams that the policy never saw: as the claim has them, and 13 times longer; nothing is chosen by it.
"""

from __future__ import annotations

import argparse
import json
from importlib import resources
from pathlib import Path

import numpy as np

from mnemos.bench.claims.mem_alpha import BASE, CORE_LIMIT, DEEDS, FULL, PLACES, WHO, judge, read, stream, streams
from mnemos.learn.write_policy import Instance, roll_out, train
from mnemos.text.recipes import mem_alpha
from mnemos.text.recipes.mem_alpha.policy import ACTIONS, FEATURES, MLPPolicy
from mnemos.text.recipes.mem_alpha.rewards import match
from mnemos.text.recipes.mem_alpha.statements import Chunk, Part
from mnemos.text.recipes.mem_alpha.store import CoreSemanticEpisodicMemory

POLICY = Path(str(resources.files(mem_alpha).joinpath("policy.json")))
THINGS = "canoe telescope piano goat kite lantern puppet rug violin sledge hammock drum".split()
TOLD = (
    "{who} would love to get a {what} for the {where} one of these days.",
    "{who} spent the whole afternoon with a {what} at the {where}, and it was lovely.",
    "{who} can never get enough of the {what} at the {where}.",
    "{who} once lost a {what} at the {where} and never found it again.",
    "The {what} at the {where} has always meant a lot to {who}.",
)
LIVED = ("On {day} January 2024 I {deed} the {where}.", "On {day} June 2024 I {deed} the {where} with my sister.")
TALK = (
    "Yeah, that is so good to hear, thanks a lot!", "I really think so too, and thank you so much for that.",
    "Oh wow, I had no idea about that at all!", "You are doing so well, and I am so glad for you!",
    "Well, that is how it is, I guess.", "So what have you been up to since then?",
)  # fmt: skip
SHARES = {"told": 0.5, "lived": 0.2, "talk": 0.3}
MORE = 4
"""Further statements in each chunk."""


def main() -> None:
    """Train, report, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    draw = np.random.default_rng(10)
    pool = [talk(draw) for _ in range(FULL.pool)]
    _, tests, long = streams(FULL)

    def tell(step: int, answers: float) -> None:
        if step % 25 == 0:
            print(f"step {step}: {answers:.3f} of the questions answered while sampling")

    policy = rounded(train(pool, reader, match, BASE, seed=seed, progress=tell).frozen())
    for name, some in (("as long", tests), ("long", long)):
        print(name, judge(roll_out(policy, some, core_limit=CORE_LIMIT), some))
    data = {
        "features": FEATURES, "actions": ACTIONS, "made by": f"python -m mnemos.bench.write_policy --seed {seed}",
        "w1": policy.w1.tolist(), "w2": policy.w2.tolist(),
    }  # fmt: skip
    POLICY.write_text(json.dumps(data) + "\n", encoding="utf-8")
    print(f"wrote {POLICY}")


def talk(draw: np.random.Generator) -> Instance:
    """A stream of the claim with `MORE` statements in each chunk, and questions about them."""
    plain = stream(draw)
    questions = dict(plain.questions)
    chunks = []
    for chunk in plain.chunks:
        parts = list(chunk.parts)
        for _ in range(MORE):
            line, question, answer = _line(draw)
            if question in questions:
                continue
            if question:
                questions[question] = answer
            parts.insert(int(draw.integers(len(parts) + 1)), Part(line))
        chunks.append(Chunk(chunk.id, tuple(parts)))
    return Instance(tuple(chunks), tuple(questions.items()))


def reader(memory: CoreSemanticEpisodicMemory, question: str) -> str:
    """The claim's reader, which also knows whether something was told: the entry must be there, outside the core."""
    if not question.startswith("told: "):
        return read(memory, question)
    told = question.removeprefix("told: ")
    return "yes" if any(told in text for held in memory.entries.values() for text in held.texts.values()) else ""


def rounded(policy: MLPPolicy) -> MLPPolicy:
    """As it is shipped: four digits are enough."""
    return MLPPolicy(np.round(policy.w1, 4), np.round(policy.w2, 4))


def _line(draw: np.random.Generator) -> tuple[str, str, str]:
    """A statement, a question about it, and the answer; both empty for small talk."""
    kind = str(draw.choice(list(SHARES), p=list(SHARES.values())))
    where = str(draw.choice(PLACES))
    if kind == "told":
        form, what = str(draw.choice(TOLD)), str(draw.choice(THINGS))
        who = str(draw.choice(WHO)) if draw.random() < 0.4 else "me" if form.startswith("The") else "I"
        line = form.format(who=who, what=what, where=where)
        return line, f"told: {line}", "yes"
    if kind == "lived":
        form, deed, day = str(draw.choice(LIVED)), str(draw.choice(DEEDS)), int(draw.integers(1, 29))
        month = "01" if "January" in form else "06"
        return form.format(day=day, deed=deed, where=where), f"I {deed} the {where}", f"2024-{month}-{day:02}"
    return str(draw.choice(TALK)), "", ""


if __name__ == "__main__":
    main()
