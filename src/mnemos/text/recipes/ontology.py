"""Tags that mean something: a closed vocabulary that grows slowly, and the index by tag.

Free tags explode, and tags that nothing shares find nothing. Here a name is normalised before it counts, each tag
has a prototype (the mean of its seed words and of everything that carries it), and a new tag is made only for what
lies near no prototype. Shared by A-MEM and CAIM.

Source: CAIM (2025), memory retrieval and post-thinking; the prototypes are ours, the paper asks a language model.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Key = TypeVar("Key", bound=Hashable)

SEEDS: Mapping[str, str] = {
    "animals": "pet, dog, cat, animal",
    "art": "painting, drawing, sculpture, gallery",
    "books": "book, novel, reading, author",
    "education": "school, course, study, exam, degree",
    "event": "party, celebration, ceremony, festival",
    "family": "mother, father, sister, brother, children",
    "feelings": "happy, sad, worried, proud, afraid",
    "film": "movie, cinema, series, actor",
    "finance": "money, salary, bank, rent, savings",
    "food": "meal, cooking, restaurant, recipe, dish",
    "friends": "friend, colleague, neighbour, meeting people",
    "games": "game, chess, console, puzzle",
    "geography": "country, city, river, region",
    "government": "law, election, minister, policy",
    "health": "doctor, illness, hospital, medicine, sleep",
    "history": "war, empire, century, king",
    "hobby": "hobby, craft, collection, pastime",
    "home": "house, flat, furniture, moving, garden",
    "music": "song, band, concert, instrument",
    "nature": "forest, mountain, weather, plants",
    "organisation": "company, team, club, institution",
    "person": "name, age, birthday, who somebody is",
    "plans": "goal, plan, intention, appointment",
    "relationship": "partner, wedding, love, divorce",
    "religion": "church, prayer, faith, temple",
    "science": "research, physics, biology, experiment",
    "shopping": "buying, shop, price, clothes",
    "sport": "running, football, gym, training, race",
    "technology": "computer, phone, software, machine",
    "travel": "trip, flight, holiday, hotel",
    "vehicles": "car, bicycle, train, boat",
    "work": "job, office, boss, career, project",
}
"""The tags that every ontology starts with, each with words that say what it is about."""

LONGEST_TAG = 40
"""Characters of a tag that are kept."""


def normal_tag(name: str) -> str:
    """The one way to write a tag: lower case, NFKC, words parted by single spaces; "" where nothing is left."""
    folded = unicodedata.normalize("NFKC", name[: LONGEST_TAG * 4]).casefold()
    return " ".join("".join(c if c.isalnum() else " " for c in folded).split())[:LONGEST_TAG].strip()


def normal_tags(names: Iterable[str], most: int) -> tuple[str, ...]:
    """The first `most` different tags of `names`, normalised."""
    found: dict[str, None] = {}
    for name in names:
        if len(found) >= most:
            break
        if tag := normal_tag(name):
            found[tag] = None
    return tuple(found)


class Ontology:
    """Tags with prototypes. The same members give the same prototypes, in whatever order they come and go.

    Args:
        embed: texts → [n, dim] unit vectors, for the seed words.
        seeds: tag → words that describe it.
    """

    def __init__(self, embed: Callable[[Sequence[str]], Floats], seeds: Mapping[str, str] = SEEDS) -> None:
        self._embed = embed
        self._seeds = {normal_tag(tag): f"{tag}: {words}" for tag, words in seeds.items()}
        self._sums: dict[str, Doubles] = {}
        self._members: dict[str, int] = {}
        self._grown: set[str] = set()
        self._table: tuple[list[str], Floats] | None = None

    @property
    def tags(self) -> list[str]:
        """Every tag, sorted: the seeds, and what live members carry beside them."""
        return sorted({*self._seeds, *self._members})

    def add(self, tags: Iterable[str], vector: NDArray[np.float16]) -> None:
        """Something with `tags` is there; `vector` is [dim]."""
        self._move(tags, vector, 1)

    def remove(self, tags: Iterable[str], vector: NDArray[np.float16]) -> None:
        """What was added with these arguments is gone."""
        self._move(tags, vector, -1)

    def _move(self, tags: Iterable[str], vector: NDArray[np.float16], sign: int) -> None:
        # float16 summed in float64 is exact, so that removing leaves what never adding would have left
        step = sign * vector.astype(np.float64)
        for tag in tags:
            count = self._members.get(tag, 0) + sign
            if count:
                self._members[tag] = count
                self._sums[tag] = self._sums.get(tag, 0.0) + step
            else:
                del self._members[tag], self._sums[tag]
        self._table = None

    def nearest(self, vectors: Floats, most: int, floor: float) -> list[list[str]]:
        """For each row of `vectors` [n, dim] the `most` tags whose cosine reaches `floor`, best first."""
        tags, prototypes = self.prototypes()
        cosines = vectors @ prototypes.T
        best = np.argsort(-cosines, axis=1, kind="stable")[:, :most]
        return [
            [tags[n] for n in row if scores[n] >= floor] for row, scores in zip(best.tolist(), cosines, strict=True)
        ]

    def prototypes(self) -> tuple[list[str], Floats]:
        """(tags, [tags, dim] unit vectors)."""
        if self._table is None:
            tags = self.tags
            seeded = self._seeded
            table = np.stack([self._sums.get(tag, 0.0) + seeded.get(tag, 0.0) for tag in tags])
            norms = np.linalg.norm(table, axis=1, keepdims=True)
            self._table = tags, (table / np.maximum(norms, 1e-12)).astype(np.float32)
        return self._table

    @cached_property
    def _seeded(self) -> Mapping[str, Doubles]:
        vectors = self._embed(list(self._seeds.values())).astype(np.float64)
        return dict(zip(self._seeds, vectors, strict=True))


class TagIndex(Generic[Key]):
    """Which things carry which tag; fetching costs |tags| + |found|."""

    def __init__(self) -> None:
        self._of: dict[Key, frozenset[str]] = {}
        self._by: dict[str, set[Key]] = {}

    def __len__(self) -> int:
        return len(self._of)

    def put(self, key: Key, tags: Iterable[str]) -> None:
        """`key` carries exactly `tags` from now on."""
        self.drop(key)
        self._of[key] = frozenset(tags)
        for tag in self._of[key]:
            self._by.setdefault(tag, set()).add(key)

    def drop(self, key: Key) -> None:
        """`key` is gone, if it was there."""
        for tag in self._of.pop(key, ()):
            held = self._by[tag]
            held.remove(key)
            if not held:
                del self._by[tag]

    def fetch(self, tags: Iterable[str]) -> set[Key]:
        """Everything that carries at least one of `tags`."""
        return set().union(*(self._by.get(tag, ()) for tag in tags))

    @property
    def tags(self) -> list[str]:
        """The tags that something carries, sorted."""
        return sorted(self._by)
