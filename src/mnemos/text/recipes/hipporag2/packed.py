"""A `KnowledgeIndex` as bytes: names, who holds them, and synonyms, so that many passages open in a second.

Vectors stay where they are, with the traces; the graph is built from the rest. To make the index of eight thousand
passages anew takes twenty seconds, most of them for comparing sixty thousand phrases with one another.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from itertools import islice, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnemos.text.graph import Graph
from mnemos.text.recipes.hipporag2.index import (
    CONTEXT,
    RELATION,
    SYNONYM,
    Fact,
    Held,
    KnowledgeIndex,
    Shelf,
    passage_node,
    synonyms_of,
)

Ints = NDArray[np.int64]

_FORM = 1
"""Number of this form; others are not read."""
_AT_ONCE = 512
"""Passages whose vectors are shelved together."""


def pack(index: KnowledgeIndex) -> bytes:
    """`index` without its vectors."""
    phrases = [key for key in index.phrases.keys if key is not None]
    facts = [key for key in index.facts.keys if key is not None]
    relations = list(dict.fromkeys(fact[1] for fact in facts))
    near = [index.synonyms(key) for key in phrases]
    name, relation, number = (_numbers(keys) for keys in (phrases, relations, facts))
    arrays = {
        "form": np.array([_FORM]),
        "synonymy": np.array([index.synonymy]),
        "names": _text({"passages": list(index.held), "phrases": phrases, "relations": relations}),
        "facts": np.array([(name[s], relation[r], name[o]) for s, r, o in facts], np.int32).reshape(-1, 3),
        **_lists("phrases", [[name[one] for one in held.phrases] for held in index.held.values()]),
        **_lists("held", [[number[one] for one in held.facts] for held in index.held.values()]),
        **_lists("near", [[name[one] for one in listed] for listed in near]),
        "cosine": np.array([cosine for listed in near for cosine in listed.values()]),
    }
    file = BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    return file.getvalue()


def unpack(body: bytes, vectors: Iterable[tuple[str, NDArray[np.float16]]], synonymy: float) -> KnowledgeIndex | None:
    """The index, with the vectors of its passages' traces, [phrases + facts, dim] each, the latest first.

    Returns:
        None for another form, another threshold of synonymy, or where no trace has its vectors any more.
    """
    with np.load(BytesIO(body), allow_pickle=False) as file:
        if file["form"][0] != _FORM or file["synonymy"][0] != synonymy:
            return None
        packed = dict(file)
    names = json.loads(packed["names"].tobytes())
    phrases, relations, passages = names["phrases"], names["relations"], names["passages"]
    triples = packed["facts"].tolist()
    facts: list[Fact] = [(phrases[s], relations[r], phrases[o]) for s, r, o in triples]
    index = KnowledgeIndex(synonymy)
    if not _shelve(index, packed, vectors, passages, phrases, facts):
        return None
    index.graph = _graph(packed, passages, phrases)
    slots = index.graph.slots(map(passage_node, passages)).tolist()
    held = zip(passages, _split(packed, "phrases"), _split(packed, "held"), slots, strict=True)
    for key, mine, told, slot in held:
        index.held[key] = Held([facts[n] for n in told.tolist()], [phrases[n] for n in mine.tolist()], slot)
    return index


def _shelve(
    index: KnowledgeIndex,
    packed: Mapping[str, Any],
    vectors: Iterable[tuple[str, NDArray[np.float16]]],
    passages: Sequence[str],
    phrases: Sequence[str],
    facts: Sequence[Fact],
) -> bool:
    """Fill the shelves; of a key that several passages hold, the vector of the first stays. False without vectors."""
    number, found = _numbers(passages), iter(vectors)
    held = _split(packed, "phrases"), _split(packed, "held")
    while several := list(islice(found, _AT_ONCE)):
        if not len(index.phrases):
            dim = several[0][1].shape[1]
            index.phrases = Shelf.of(phrases, _holders(packed, "phrases", passages, len(phrases)), dim)
            index.facts = Shelf.of(facts, _holders(packed, "held", passages, len(facts)), dim)
        known = [(number[key], matrix) for key, matrix in several if key in number]
        whole = [(n, matrix) for n, matrix in known if len(matrix) == len(held[0][n]) + len(held[1][n])]
        for shelf, lists, part in ((index.phrases, held[0], 0), (index.facts, held[1], 1)):
            parts = [(lists[n], np.split(matrix, [len(held[0][n])])[part]) for n, matrix in whole]
            if parts:
                shelf.vectors[np.concatenate([n for n, _ in parts])] = np.concatenate([rows for _, rows in parts])
    return bool(len(index.phrases)) or not phrases


def _holders(packed: Mapping[str, Any], name: str, passages: Sequence[str], count: int) -> list[tuple[str, ...]]:
    """By key, the passages whose list has it."""
    keys, owner = packed[name], np.arange(len(passages)).repeat(packed[f"{name}_counts"])
    of = [passages[n] for n in owner[np.argsort(keys, kind="stable")].tolist()]
    borders = np.concatenate([[0], np.cumsum(np.bincount(keys, minlength=count))]).tolist()
    return [tuple(of[a:b]) for a, b in pairwise(borders)]


def _graph(packed: Mapping[str, Any], passages: Sequence[str], phrases: Sequence[str]) -> Graph:
    """Phrases and passages with their edges, each under who put it there."""
    triples, near = packed["facts"].astype(np.int64), packed["near"].astype(np.int64)
    every, behind = np.arange(len(passages)), len(phrases)
    owners = [every.repeat(packed[f"{name}_counts"]) for name in ("phrases", "held")]
    told = triples[packed["held"]]
    lister = np.arange(len(phrases)).repeat(packed["near_counts"])
    listing, source = np.unique(lister, return_inverse=True)
    parts = [  # kind, one end, the other, weight, owner
        (-1, every + behind, every + behind, np.zeros(len(every)), every),
        (0, told[:, 0], told[:, 2], np.full(len(told), 2.0), owners[1]),
        (1, owners[0] + behind, packed["phrases"].astype(np.int64), np.ones(len(owners[0])), owners[0]),
        (2, lister, near, packed["cosine"], source + len(passages)),
    ]
    kind = np.concatenate([np.full(len(part[1]), part[0], np.int64) for part in parts])
    one, other, weight, owner = (np.concatenate([part[n] for part in parts]) for n in (1, 2, 3, 4))
    nodes = [passage_node(key) for key in passages]
    sources = [*nodes, *(synonyms_of(phrases[n]) for n in listing.tolist())]
    graph = Graph()
    graph.extend([*phrases, *nodes], [RELATION, CONTEXT, SYNONYM], kind, one, other, weight, sources, owner)
    return graph


def _numbers(keys: Iterable[Any]) -> dict[Any, int]:
    return {key: number for number, key in enumerate(keys)}


def _text(value: Any) -> NDArray[np.uint8]:
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def _lists(name: str, lists: Sequence[Sequence[int]]) -> dict[str, NDArray[np.int32]]:
    """Lists of numbers as one, beside their lengths."""
    flat = [number for one in lists for number in one]
    return {name: np.array(flat, np.int32), f"{name}_counts": np.array([len(one) for one in lists], np.int32)}


def _split(packed: Mapping[str, Any], name: str) -> list[NDArray[Any]]:
    """Lists that `_lists` made one of."""
    borders = np.concatenate([[0], np.cumsum(packed[f"{name}_counts"])]).tolist()
    return [packed[name][a:b] for a, b in pairwise(borders)]
