"""Make `src/mnemos/text/encode/alike.npz`, the neighbours of English stems, from MiniLM.

    python -m mnemos.bench.alike

A word of its vocabulary has two vectors: its row of the embedding table, and what the whole model makes of the word
alone. Both are centred and brought to unit length, and stand side by side; words of one stem share the mean of theirs.
Nothing is learned from any data set. (In trials on LoCoMo, held out by conversation, recall@5 was .770 with the first
vectors alone, .769 with the second, .772 with both, .765 with neither.)
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from mnemos.text.encode.alike import LEAST, STEPS, TABLE, Table
from mnemos.text.encode.analyse import STOP_WORDS, terms
from mnemos.text.encode.minilm import Inputs, MiniLM, WordPieces

NEAREST = 32
"""Neighbours of a stem, at most. (With 64 recall@20 differs by .001 in trials.)"""
_WORD = re.compile(r"[^\W\d_]{2,}")
_CHUNK = 1024


def vectors(model: MiniLM) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """(hashed stems [S], ascending; unit vectors [S, 768]) of the whole words of a model's vocabulary."""
    folder = model.folder()
    known = WordPieces(folder / "tokenizer.json").vocabulary
    words = {word: id for word, id in known.items() if _WORD.fullmatch(word) and word not in STOP_WORDS}
    table = Inputs(folder / "model.safetensors").words[[*words.values()]]
    alone = np.concatenate([model.embed(part) for part in track(_parts([*words]), "embedding words")])
    both = _centred(np.concatenate([_unit(_centred(_unit(table))), _unit(_centred(alone))], axis=1))
    stems, which = np.unique(np.array([terms(word)[0] for word in words]), return_inverse=True)
    sums = np.zeros((len(stems), both.shape[1]), np.float32)
    np.add.at(sums, which, _unit(both))
    return stems, _unit(sums)


def nearest(stems: NDArray[np.uint32], unit: NDArray[np.float32], count: int) -> Table:
    """The `count` nearest of each stem among the others, as far as they reach `LEAST`."""
    near, likeness = [], []
    for start in range(0, len(stems), _CHUNK):
        cosine = unit[start : start + _CHUNK] @ unit.T
        here = np.arange(len(cosine))
        cosine[here, start + here] = -1
        best = np.argsort(cosine, axis=1, kind="stable")[:, -count:]
        steps = np.rint((np.take_along_axis(cosine, best, axis=1) - LEAST) * (STEPS / (1 - LEAST)))
        near.append(best.astype(np.uint16))
        likeness.append(np.clip(steps, 0, STEPS).astype(np.uint8))
    return Table(stems, np.concatenate(near), np.concatenate(likeness))


def _parts(words: list[str]) -> list[list[str]]:
    return [words[start : start + _CHUNK] for start in range(0, len(words), _CHUNK)]


def _centred(x: NDArray[np.float32]) -> NDArray[np.float32]:
    centred: NDArray[np.float32] = x - x.mean(0)
    return centred


def _unit(x: NDArray[np.float32]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = x / np.linalg.norm(x, axis=1, keepdims=True)
    return unit


def main() -> None:
    """Make the table and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=TABLE)
    arguments = parser.parse_args()
    table = nearest(*vectors(MiniLM("f32")), NEAREST)
    np.savez(arguments.out, **table._asdict())
    kept = (table.likeness > 0).sum(1)
    print(f"wrote {arguments.out}: {len(table.terms):,} stems with {kept.mean():.1f} neighbours each")


if __name__ == "__main__":
    main()
