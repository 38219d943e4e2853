"""Questions over two to four passages, made from the passages: to develop recall on, where annotated ones only test.

    python -m mnemos.bench.hops CORPUS made/hops.json
    mnemos bench recipes --data 2wiki --path made/hops.json

In the four forms of 2WikiMultihopQA (Ho et al., 2020, section 3): compositional ("When did the director of film A
die?"), inference ("Who is the paternal grandfather of A?"), comparison ("Who was born first, A or B?") and both at
once ("Which film has the director who died later, A or B?"). A passage that says of its subject whom it is by or whose
child it is, in words that name another passage, makes a pair; whether the second passage has the answer is not known.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mnemos.bench.sets import read_json
from mnemos.core.errors import InvalidInput

_RANK = r"(?:the |King |Emperor |Count |Duke |Sir |Prince |Princess |Queen |Saint )*"
_ARTIST = r"(?:[a-z&-]+ |[A-Z][a-z]+(?:an|sh|se|ch) )*"
"""What may stand before a performer's name: "the American singer"."""
CUES = {
    "film": r"\bfilm\b.*?\b(?:directed by|director) ",
    "song": rf"\b(?:song|single)\b[^.]{{0,60}}? by {_ARTIST}",
    "child": rf"\b(?:son|daughter|child) of {_RANK}",
    "spouse": rf"\b(?:married(?: to)?|wife of|husband of|spouse of) {_RANK}",
}
"""By relation, what stands between the subject of a passage and the title of another."""
_OF_PERSON = (
    "Where was {} born?", "When did {} die?", "What is the place of birth of {}?", "What nationality is {}?",
    "Who is the father of {}?", "Which award did {} receive?", "Where did {} graduate from?",
    "Which country is {} from?",
)  # fmt: skip
ASKED = {
    "film": ("compositional", tuple(q.format("the director of film {}") for q in _OF_PERSON)),
    "song": ("compositional", tuple(q.format("the performer of song {}") for q in _OF_PERSON)),
    "child": (
        "inference",
        ("Who is the paternal grandfather of {}?", "Who is the grandmother of {}?", "When did {}'s father die?"),
    ),
    "spouse": ("inference", ("Who is the father-in-law of {}?", "Who is {}'s mother-in-law?")),
}
_DIRECTORS = (
    "Which film has the director who died later, {} or {}?",
    "Which film has the director who was born first, {} or {}?",
    "Do both films {} and {} have the directors from the same country?",
)  # fmt: skip
_COMPARED = {
    "film": ("Which film came out first, {} or {}?", "Which film was released more recently, {} or {}?"),
    "child": ("Who was born first, {} or {}?", "Who died later, {} or {}?", "Are {} and {} of the same nationality?"),
}
MOST = {"film": 70, "song": 40, "child": 50, "spouse": 20}
"""Pairs of each relation that questions are made of; of films as many again for the questions about two."""
_LONGEST = 6
"""Words of a title that is looked for."""


def pairs(texts: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """(relation, title, title of the passage that it leads to), at most one of each relation for a title."""
    titles = defaultdict(list)
    for title in texts:
        titles[bare(title)].append(title)
    for title, text in texts.items():
        for relation, cue in CUES.items():
            ends = (text[found.end() :].split(" ")[:_LONGEST] for found in re.finditer(cue, text))
            names = (" ".join(words[:n]).strip(" .,;()") for words in ends for n in range(len(words), 1, -1))
            other = next((titles[name][0] for name in names if len(titles.get(name, ())) == 1), title)
            if other != title:
                yield relation, title, other


def bare(title: str) -> str:
    """A title without what tells it from others: "Afrika (film)" as "Afrika"."""
    return re.sub(r"\s*\(.*\)$", "", title)


def questions(texts: Mapping[str, str]) -> list[dict[str, Any]]:
    """Questions in HotpotQA's form, whose evidence is titles."""
    draw, found = random.Random(0), defaultdict(list)
    for relation, title, other in pairs(texts):
        found[relation].append((title, other))
    made: list[dict[str, Any]] = []

    def add(kind: str, question: str, *evidence: str) -> None:
        facts = [[title, 0] for title in evidence]
        made.append({"_id": str(len(made)), "type": kind, "question": question, "supporting_facts": facts})

    for relation, (kind, templates) in ASKED.items():
        draw.shuffle(found[relation])
        for title, other in found[relation][: MOST[relation]]:
            add(kind, draw.choice(templates).format(title), title, other)
    left = found["film"][MOST["film"] : 3 * MOST["film"]]
    for (one, its), (two, of_it) in zip(left[::2], left[1::2], strict=False):
        add("bridge comparison", draw.choice(_DIRECTORS).format(one, two), one, its, two, of_it)
    for relation, templates in _COMPARED.items():
        titles = [title for title, _ in found[relation]]
        for one, two in zip(titles[: MOST[relation] : 2], titles[1 : MOST[relation] : 2], strict=False):
            add("comparison", draw.choice(templates).format(one, two), one, two)
    return made


def main() -> None:
    """Write the questions, and the passages beside them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, help='passages as [{"title": ..., "text": ...}], .xz allowed')
    parser.add_argument("out", type=Path, help="file of the questions; the passages go to ..._corpus.json beside it")
    options = parser.parse_args()
    corpus = read_json(options.corpus)
    try:
        texts = {passage["title"]: passage["text"] for passage in corpus}
    except (KeyError, TypeError) as why:
        raise InvalidInput(f"{options.corpus} is no list of titles and texts ({why!r})") from None
    made = questions(texts)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(made), "utf-8")
    options.out.with_name(f"{options.out.stem}_corpus.json").write_text(json.dumps(corpus), "utf-8")
    print(f"{len(made)} questions over {len(texts)} passages: {options.out}")


if __name__ == "__main__":
    main()
