"""Entities and triples of a text without a language model, in milliseconds.

    extract_local("Marie Curie was born in Warsaw.").triples
    (("Marie Curie", "born in", "Warsaw"),)

Open information extraction as graph memories need it (Gutiérrez et al., HippoRAG 2, arXiv:2502.14802, section
3.1), by a small network on the frozen sentence encoder (`openie_model`), or by rules (`openie_rules`) where the
encoder is not on the machine. It learned from English encyclopedic passages; other languages get less.

Agreement with a language model's triples on passages it never saw, F1 of network and rules: names 0.82 and
0.69, arguments of triples 0.61 and 0.47, pairs of arguments 0.34 and 0.20 (`python -m mnemos.learn.openie`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from mnemos.core.errors import InvalidInput
from mnemos.text.encode import openie_model as model
from mnemos.text.encode.chunk import titled
from mnemos.text.encode.embedder import checked, default_cache_dir, installed
from mnemos.text.encode.entities import canonical, entities
from mnemos.text.encode.minilm import Inputs, best_precision, cores, find_weights, reference_states
from mnemos.text.encode.openie_model import Floats, Ints, Network, sigmoid
from mnemos.text.encode.openie_rules import Triple, rule_triples
from mnemos.text.encode.openie_words import Reader, Window

MAX_CHARACTERS = 20_000
"""The rest of a longer text is not read: cut it into passages (`mnemos.text.encode.chunk`) first."""
NAME, PAIR, RELATION, LINK = 0.45, 0.25, 0.4, 0.01
"""Probabilities from which a span is a name, a pair a triple, a word part of its relation; and a pair the
triple of a name that would else have none."""
_TOGETHER = 64
"""Texts whose words go through the encoder before the network reads the first: as many states are held."""
Span = tuple[int, int]
"""First and last word, both included."""


@dataclass(frozen=True, slots=True)
class Extraction:
    """What a text mentions and what it says about that."""

    entities: tuple[str, ...]
    triples: tuple[Triple, ...]
    """(subject, relation, object): subject and object as written, whitespace collapsed; surest first."""


def extract_local(text: str, title: str = "") -> Extraction:
    """Entities and triples of one text; `Extractor` with what is on this machine.

    Args:
        text: any text; at most `MAX_CHARACTERS` of it are read.
        title: what it is about: the subject of sentences that say "it", "he" or "the film". If empty, a first
            line that looks like a heading is taken, then the first name.
    """
    return _shared().extract([text], [title])[0]


class Extractor:
    """Extracts from many texts; safe to share between threads. Weights are read on first use.

    Args:
        rules: do without the network.
        cache_dir: where the encoder's composed graph is kept; `default_cache_dir()` if None.
        parts: an encoder and a network to use instead of those on this machine.
    """

    def __init__(
        self, *, rules: bool = False, cache_dir: Path | None = None, parts: tuple[Encoder, Network] | None = None
    ) -> None:
        self._rules = rules
        self._cache_dir = cache_dir
        self._lock = Lock()
        self._loaded = parts

    @property
    def name(self) -> str:
        """What extracts: "openie-minilm" or "openie-rules"."""
        return "openie-rules" if self._parts() is None else "openie-minilm"

    def extract(self, texts: Sequence[str], titles: Sequence[str] = ()) -> list[Extraction]:
        """One extraction per text, which does not depend on its neighbours.

        Args:
            texts: passages.
            titles: as many as texts, or none; see `extract_local`.

        Raises:
            InvalidInput: a text or title is no string, or their numbers differ.
        """
        texts, titles = checked(texts), checked(titles)
        if titles and len(titles) != len(texts):
            raise InvalidInput(f"{len(titles)} titles for {len(texts)} texts: give one for each, or none")
        pairs = [_split(*pair) for pair in zip(texts, titles or [""] * len(texts), strict=True)]
        parts = self._parts()
        if parts is None:
            return [_by_rules(*pair) for pair in pairs]
        return [
            one for start in range(0, len(pairs), _TOGETHER)
            for one in self._extracted(*parts, pairs[start : start + _TOGETHER])
        ]  # fmt: skip

    def _extracted(self, encoder: Encoder, network: Network, pairs: Sequence[tuple[str, str]]) -> Iterator[Extraction]:
        titled = [(title or next(iter(entities(body)), ""), body) for title, body in pairs]
        windows = [encoder.reader.read(*pair) for pair in titled]
        states = iter(encoder.states([window for some in windows for window in some]))
        for (title, body), some in zip(titled, windows, strict=True):
            yield _joined(title, [network_triples(network, next(states), window, title, body) for window in some])

    def _parts(self) -> tuple[Encoder, Network] | None:
        """Encoder and network; None where only rules can run."""
        if self._rules or not installed("tokenizers", "safetensors"):
            return None
        with self._lock:
            if self._loaded is None:
                folder = find_weights()
                if folder is None:
                    self._rules = True
                    return None
                self._loaded = Encoder(folder, self._cache_dir or default_cache_dir()), Network.load()
            return self._loaded


class Encoder:
    """The first layers of the sentence encoder, word by word.

    Args:
        folder: with `model.safetensors` and `tokenizer.json`.
        cache_dir: where the composed graph is kept.
    """

    def __init__(self, folder: Path, cache_dir: Path) -> None:
        from tokenizers import Tokenizer

        weights = folder / "model.safetensors"
        self.reader = Reader(Tokenizer.from_file(str(folder / "tokenizer.json")))
        self._inputs = Inputs(weights)
        if installed("onnxruntime", "onnx"):
            from mnemos.text.encode.onnx_graph import open_states

            self._forward = open_states(weights, best_precision(), cache_dir, model.LAYERS)
        else:
            from safetensors.numpy import load_file

            tensors = load_file(weights)
            self._forward = lambda x: reference_states(tensors, x, model.LAYERS)

    def states(self, windows: Sequence[Window]) -> list[Floats]:
        """Of each window, [words, 384] the mean of each word's pieces."""
        # each by itself, so that none depends on another, and side by side
        with ThreadPoolExecutor(max(1, min(cores(), len(windows)))) as pool:
            return list(pool.map(self._states, windows))

    def _states(self, window: Window) -> Floats:
        tokens = self._forward(self._inputs([window.ids]))[0][window.owner >= 0]
        owner = window.owner[window.owner >= 0]
        starts = np.flatnonzero(np.diff(owner, prepend=-1))
        sums = np.add.reduceat(tokens, starts, axis=0)
        return np.asarray(sums / np.diff(starts, append=len(owner))[:, None], np.float32)


def network_triples(
    network: Network, states: Floats, window: Window, title: str, body: str
) -> tuple[list[str], list[tuple[float, Triple]]]:
    """The names and the triples, each with its probability, of one window with the `states` of its words."""
    if len(window.words) <= window.title:
        return [], []

    def said(span: Span) -> str:
        if span[1] < window.title:
            return title
        return " ".join(body[window.spans[span[0]][0] : window.spans[span[1]][1]].split())

    h = network.words(states, window.shapes)
    first, last = model.all_spans(window.sentence, window.title)
    roles = sigmoid(network.spans(h, first, last))
    named = _apart(first, last, roles[:, 0], NAME)
    names = [said(span) for span in named]
    subjects = candidates(window, first, last, roles[:, 1], 24)
    objects = list(dict.fromkeys([*candidates(window, first, last, roles[:, 2], 40), *named]))
    if not subjects or not objects:
        return names, []
    s, o = np.array(subjects), np.array(objects)
    about_s, about_o = (network.meanings(h, spans, window.title) for spans in (s, o))
    features = model.pair_features(s, o, window.sentence, window.title)
    p = sigmoid(network.pairs(about_s, about_o, features))
    p[features[..., 2] > 0] = 0
    triples = []
    for i, j in linked(accepted(p, s, o), p, s, o, named):
        k, placed = model.relation_words(s[i], o[j], window.sentence, window.title)
        words = "is"
        if len(k):
            q = sigmoid(network.relation(h[k], about_s[i], about_o[j], placed))
            chosen = k[q > RELATION] if q.max() > RELATION else k[[q.argmax()]]
            words = " ".join(window.words[n] for n in chosen)
        triples.append((float(p[i, j]), (said(subjects[i]), words, said(objects[j]))))
    return names, triples


def candidates(window: Window, first: Ints, last: Ints, p: Floats, most: int) -> list[Span]:
    """The title, then the likeliest spans of a role; spans that repeat the title stand for it and are left out."""
    own = [word.lower() for word in window.words[: window.title]]
    found = [(0, window.title - 1)] if window.title else []
    for n in np.argsort(-p, kind="stable")[:most]:
        span = int(first[n]), int(last[n])
        if p[n] > 0.04 and [word.lower() for word in window.words[span[0] : span[1] + 1]] != own:
            found.append(span)
    return found


def accepted(p: Floats, subjects: Ints, objects: Ints, least: float = PAIR) -> list[tuple[int, int]]:
    """The pairs above `least`, likeliest first, none a variant of a likelier one: the same subject with an
    overlapping object, or the other way round."""
    out: list[tuple[int, int]] = []
    rows, columns = np.nonzero(p > least)
    for n in np.argsort(-p[rows, columns], kind="stable"):
        i, j = int(rows[n]), int(columns[n])
        if not any(
            (i == a and _overlaps(objects[j], objects[b])) or (j == b and _overlaps(subjects[i], subjects[a]))
            for a, b in out
        ):
            out.append((i, j))
    return out


def linked(
    pairs: list[tuple[int, int]], p: Floats, subjects: Ints, objects: Ints, names: list[Span]
) -> list[tuple[int, int]]:
    """`pairs`, and for each name that is in none of them the likeliest that has it: a graph knows a
    passage by the names in it, so none may be missing, however unsure what is said about it."""
    out = list(pairs)
    for name in names:
        held = [ends for i, j in out for ends in (subjects[i], objects[j])]
        if any(_overlaps(np.array(name), ends) for ends in held):
            continue
        here = p * (objects == name).all(1)
        if here.max() > LINK:
            i, j = np.unravel_index(int(here.argmax()), here.shape)
            out.append((int(i), int(j)))
    return out


def _by_rules(title: str, body: str) -> Extraction:
    names, triples = rule_triples(body, title)
    return Extraction(tuple(names), tuple(dict.fromkeys(triples)))


def _joined(title: str, found: Sequence[tuple[list[str], list[tuple[float, Triple]]]]) -> Extraction:
    """What was found in the windows of one text."""
    scored = sorted((pair for _, pairs in found for pair in pairs), key=lambda pair: -pair[0])
    triples = list({(canonical(s), canonical(o), r): (s, r, o) for _, (s, r, o) in reversed(scored)}.values())
    mentioned = [name for names, _ in found for name in names]
    mentioned += [name for s, _, o in triples for name in (s, o) if name == title]
    unique = {canonical(name): name for name in reversed(mentioned)}
    unique.pop("", None)
    return Extraction(tuple(reversed(unique.values())), tuple(reversed(triples)))


def bare(title: str) -> str:
    """A title without what tells it from others of the same name: "Mercury (planet)" is "Mercury"."""
    return re.sub(r"\s*\([^()]*\)\Z", "", title) or title


def _overlaps(a: NDArray[np.int64], b: NDArray[np.int64]) -> bool:
    return bool(a[0] <= b[1] and b[0] <= a[1])


def _apart(first: Ints, last: Ints, p: Floats, least: float) -> list[Span]:
    """The spans above `least`, none overlapping a likelier one, in order."""
    out: list[Span] = []
    above = np.flatnonzero(p > least)
    for n in above[np.argsort(-p[above], kind="stable")]:
        if all(last[n] < a or b < first[n] for a, b in out):
            out.append((int(first[n]), int(last[n])))
    return sorted(out)


def _split(text: str, title: str) -> tuple[str, str]:
    """Title, without its parenthesis, and body of what is read of `text`."""
    title, body = titled(text[:MAX_CHARACTERS], " ".join(title[:200].split()))
    return bare(title), body


@cache
def _shared() -> Extractor:
    return Extractor()
