"""The network of the extractor, in numpy: word states to spans, pairs of spans, and the words that relate them.

Word states are the means of the frozen encoder's token states after `LAYERS` layers. On them:
  - two convolutions over the words of a window, with what the words look like (`openie_words`);
  - spans: a bilinear score of first and last word for each role (name, subject, object), plus the mean of a
    score of the words inside, plus one for the width;
  - pairs of a subject and an object: bilinear plus a hidden layer, which also sees where they stand;
  - relation: for every word of the sentence whether it belongs to what joins a given pair.

The title is the span of its own words, so "it", "he" and "the film" need no rule: their sentence's objects
are paired with the title. `mnemos.learn.openie` trains the weights; the names of the tensors are the contract.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

LAYERS = 3
WIDEST = 16
"""Words in a span, at most."""
ROLES = ("name", "subject", "object")
WEIGHTS = Path(__file__).with_name("openie.npz")

PAIR_FEATURES, RELATION_FEATURES = 12, 9


class Network:
    """The trained network.

    Args:
        weights: tensors by name, see `mnemos.learn.openie.Trainable`.
    """

    def __init__(self, weights: Mapping[str, NDArray[np.floating]]) -> None:
        self._w = {name: np.asarray(value, np.float32) for name, value in weights.items()}
        kernels = [self._w[f"convs.{i}.weight"] for i in (0, 1)]  # [out, in, taps]
        self._flat = [(k.shape[2], k.transpose(2, 1, 0).reshape(-1, len(k))) for k in kernels]
        """Taps, and weights [taps x in, out]."""

    @classmethod
    def load(cls, path: Path = WEIGHTS) -> Network:
        """The shipped one."""
        with np.load(path, allow_pickle=False) as stored:
            return cls(dict(stored))

    def words(self, states: Floats, shapes: Floats) -> Floats:
        """Contextual words [W, H] of encoder states [W, 384] and shapes [W, SHAPES]."""
        h = _relu(self._dense("inp", _norm(states)) + shapes @ self._w["shape.weight"].T)
        for i, (taps, flat) in enumerate(self._flat):
            padded = np.pad(h, ((taps // 2, taps // 2), (0, 0)))
            wide = np.concatenate([padded[k : k + len(h)] for k in range(taps)], axis=1)
            h = h + _relu(self._affine(f"norms.{i}", _norm(wide @ flat + self._w[f"convs.{i}.bias"])))
        return self._affine("out", _norm(h))

    def spans(self, h: Floats, first: Ints, last: Ints) -> Floats:
        """Logits [n, roles] of the spans from word `first` to word `last`, both included."""
        a = self._dense("first", h).reshape(len(h), len(ROLES), -1)
        b = self._dense("last", h).reshape(len(h), len(ROLES), -1)
        inside = np.concatenate([np.zeros((1, len(ROLES)), np.float32), np.cumsum(self._dense("inside", h), axis=0)])
        width = last - first
        x = np.einsum("nrk,nrk->nr", a[first][..., :-1], b[last][..., :-1]) / np.float32(np.sqrt(a.shape[2] - 1))
        x += a[first][..., -1] + b[last][..., -1]
        x += (inside[last + 1] - inside[first]) / (width + 1)[:, None].astype(np.float32)
        logits: Floats = x + self._w["width"].T[width] + self._w["prior"]
        return logits

    def meanings(self, h: Floats, spans: Ints, title: int) -> Floats:
        """What spans [n, 2] are about, [n, P]."""
        total = np.concatenate([np.zeros((1, h.shape[1]), np.float32), np.cumsum(h, axis=0)])
        first, last = spans[:, 0], spans[:, 1]
        mean = (total[last + 1] - total[first]) / (last - first + 1)[:, None].astype(np.float32)
        own = (last < title).astype(np.float32)[:, None]
        return _relu(self._dense("meaning", np.concatenate([h[first], h[last], mean, own], axis=1)))

    def pairs(self, subjects: Floats, objects: Floats, features: Floats) -> Floats:
        """Logits [S, O] that a subject [S, P] and an object [O, P] make a triple; features [S, O, PAIR_FEATURES]."""
        s, o = self._dense("subject", subjects), self._dense("object", objects)
        hidden = self._dense("pair_s", subjects)[:, None] + (objects @ self._w["pair_o.weight"].T)[None]
        hidden = _relu(hidden + features @ self._w["pair_f.weight"].T)
        logits: Floats = s @ o.T / np.float32(np.sqrt(s.shape[1])) + self._dense("pair", hidden)[..., 0]
        return logits

    def relation(self, h: Floats, subject: Floats, object: Floats, features: Floats) -> Floats:
        """Logits [W] that words belong to the relation of one pair, [P] each; features [W, RELATION_FEATURES]."""
        both = np.concatenate([subject, object]) @ self._w["relation_p.weight"].T
        hidden = _relu(self._dense("relation_w", h) + both + features @ self._w["relation_f.weight"].T)
        logits: Floats = self._dense("relation", hidden)[..., 0]
        return logits

    def _dense(self, name: str, x: Floats) -> Floats:
        y: Floats = x @ self._w[name + ".weight"].T + self._w[name + ".bias"]
        return y

    def _affine(self, name: str, x: Floats) -> Floats:
        y: Floats = x * self._w[name + ".weight"] + self._w[name + ".bias"]
        return y


def all_spans(sentence: Ints, title: int) -> tuple[Ints, Ints]:
    """First and last words of every span of at most `WIDEST` words within a sentence of the body."""
    n = len(sentence)
    first = np.repeat(np.arange(title, n), WIDEST)
    last = first + np.tile(np.arange(WIDEST), n - title)
    fits = last < n
    first, last = first[fits], last[fits]
    fits = sentence[first] == sentence[last]
    return first[fits], last[fits]


def pair_features(subjects: Ints, objects: Ints, sentence: Ints, title: int) -> Floats:
    """[S, O, PAIR_FEATURES] where subjects [S, 2] and objects [O, 2] stand; the third is 1 where they overlap."""
    ahead = objects[None, :, 0] - subjects[:, None, 1]
    behind = subjects[:, None, 0] - objects[None, :, 1]
    title_s = np.broadcast_to((subjects[:, 1] < title)[:, None], ahead.shape)
    title_o = np.broadcast_to((objects[:, 1] < title)[None, :], ahead.shape)
    apart = sentence[objects[:, 0]][None, :] - sentence[subjects[:, 0]][:, None]
    body = ~title_s & ~title_o
    width = np.broadcast_to((objects[:, 1] - objects[:, 0])[None, :] / 8, ahead.shape)
    columns = (
        title_s, title_o, (ahead <= 0) & (behind <= 0),
        body & (apart == 0) & (ahead > 0), body & (apart == 0) & (behind > 0),
        body & (apart == 1), body & (apart > 1), body & (apart < 0),
        body * np.log1p(np.maximum(ahead, 0)), body * np.log1p(np.maximum(behind, 0)),
        title_s * np.log1p(np.maximum(apart, 0)), width,
    )  # fmt: skip
    return np.stack(columns, axis=-1).astype(np.float32)


def relation_words(subject: Ints, object: Ints, sentence: Ints, title: int) -> tuple[Ints, Floats]:
    """The words that may relate a pair, and [words, RELATION_FEATURES] of them: the sentence of the object
    (of the subject where the title is the object) without the pair itself."""
    anchor = subject if object[1] < title else object
    k = np.flatnonzero(sentence == sentence[anchor[0]])
    k = k[(k >= title) & ((k < object[0]) | (k > object[1])) & ((k < subject[0]) | (k > subject[1]))]
    before, after = object[0] - k, k - subject[1]
    own = bool(subject[1] < title)
    columns = (
        np.ones(len(k)), (before > 0) & (after > 0), k > object[1], k == object[0] - 1, k == object[1] + 1,
        np.log1p(np.maximum(before, 0)), np.log1p(np.maximum(-before, 0)),
        np.log1p(np.maximum(after, 0)) * (not own), np.full(len(k), own),
    )  # fmt: skip
    return k, np.stack(columns, axis=-1).astype(np.float32)


def sigmoid(x: Floats) -> Floats:
    """Logits to probabilities."""
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -30, 30))), np.float32)


def _relu(x: Floats) -> Floats:
    y: Floats = np.maximum(x, np.float32(0))
    return y


def _norm(x: Floats) -> Floats:
    x = x - x.mean(-1, keepdims=True)
    y: Floats = x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(1e-5))
    return y
