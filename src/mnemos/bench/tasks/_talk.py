"""Conversations of any length for speed: sentences of the demo, recombined, with rarer words mixed in."""

from __future__ import annotations

import json
import random
from importlib import resources

from mnemos.text.encode.chunk import sentences
from mnemos.text.records import Item

_PEOPLE = ("Tamsin", "Emeka")
_SYLLABLES = (
    "ka",
    "lo",
    "mi",
    "ren",
    "ta",
    "su",
    "vel",
    "ora",
    "dim",
    "pe",
    "shu",
    "nar",
    "bei",
    "lun",
    "gos",
    "tri",
)
_RARE = 30_000
_SESSION = 20


def talk(n: int, seed: int) -> list[Item]:
    """`n` turns of two people in sessions of 20, about 24 word pieces each; word use follows Zipf."""
    rng = random.Random(seed)
    lines = resources.files("mnemos.data").joinpath("demo.jsonl").read_text("utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    pieces = [text[a:b] for text in texts for a, b in sentences(text)]
    items = []
    for number in range(n):
        words = rng.choice(pieces).split()
        words[rng.randrange(len(words))] = _rare(rng)
        text = f"{' '.join(words)} {rng.choice(pieces)} {_rare(rng).capitalize()} again."
        session, turn = divmod(number, _SESSION)
        at = 1.7e9 + session * 86400 + turn * 60
        items.append(Item(text, speaker=_PEOPLE[turn % 2], at=at, session=f"s{session}"))
    return items


def questions(items: list[Item], n: int, seed: int) -> list[str]:
    """`n` questions in the words of turns picked at random."""
    rng = random.Random(seed)
    picked = [rng.choice(items) for _ in range(n)]
    return [f"What did {item.speaker} say about {' '.join(item.text.split()[:7])}?" for item in picked]


def _rare(rng: random.Random) -> str:
    rank = int(_RARE ** rng.random())  # log-uniform rank: Zipf
    word = ""
    while rank:
        rank, syllable = divmod(rank, len(_SYLLABLES))
        word += _SYLLABLES[syllable]
    return word or _SYLLABLES[0]
