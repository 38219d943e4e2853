"""Train `src/mnemos/text/recipes/mem_alpha/policy.json`, the write policy of Mem-alpha that is shipped.

    python -m mnemos.bench.write_policy [--seed 0]

GRPO over the streams of `mnemos.bench.claims.mem_alpha`, with all four rewards. The report is on streams that the
policy never saw, as long as those it was trained on and 13 times longer; nothing is chosen by it.
"""

from __future__ import annotations

import argparse
import json
from importlib import resources
from pathlib import Path

import numpy as np

from mnemos.bench.claims.mem_alpha import BASE, CORE_LIMIT, FULL, judge, read, streams
from mnemos.learn.write_policy import roll_out, train
from mnemos.text.recipes import mem_alpha
from mnemos.text.recipes.mem_alpha.policy import ACTIONS, FEATURES, MLPPolicy
from mnemos.text.recipes.mem_alpha.rewards import match

POLICY = Path(str(resources.files(mem_alpha).joinpath("policy.json")))


def main() -> None:
    """Train, report, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    pool, tests, long = streams(FULL)

    def tell(step: int, answers: float) -> None:
        if step % 25 == 0:
            print(f"step {step}: {answers:.3f} of the questions answered while sampling")

    policy = rounded(train(pool, read, match, BASE, seed=seed, progress=tell).frozen())
    for name, some in (("as long", tests), ("long", long)):
        print(name, judge(roll_out(policy, some, core_limit=CORE_LIMIT), some))
    data = {
        "features": FEATURES, "actions": ACTIONS, "made by": f"python -m mnemos.bench.write_policy --seed {seed}",
        "w1": policy.w1.tolist(), "w2": policy.w2.tolist(),
    }  # fmt: skip
    POLICY.write_text(json.dumps(data) + "\n", encoding="utf-8")
    print(f"wrote {POLICY}")


def rounded(policy: MLPPolicy) -> MLPPolicy:
    """As it is shipped: four digits are enough."""
    return MLPPolicy(np.round(policy.w1, 4), np.round(policy.w2, 4))


if __name__ == "__main__":
    main()
