"""A text file as windows of tokens. Which windows a step sees depends on the seed and the step alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from mnemos.core.errors import InvalidInput, NotFound
from mnemos.models.tokenizer import Tokenizer

_PIECE = 1 << 20
"""Characters that are tokenised at a time."""


def read_corpus(path: str | Path) -> str:
    """The text of a file, line ends as they are.

    Raises:
        NotFound: no such file.
        InvalidInput: it is empty, a folder, or not UTF-8.
    """
    path = Path(path)
    if path.is_dir():
        raise InvalidInput(f"the corpus {path} is a folder: give one text file")
    if not path.exists():
        raise NotFound(f"there is no corpus {path}")
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as why:
        raise InvalidInput(f"the corpus {path} is not UTF-8: byte {why.start} is wrong; convert it first") from None
    if not text.strip():
        raise InvalidInput(f"the corpus {path} is empty: give a text file")
    return text


def pieces(text: str) -> Iterator[str]:
    """`text` in pieces of about a megabyte, cut after a line end where there is one."""
    start = 0
    while start < len(text):
        end = start + _PIECE
        if end < len(text):
            cut = text.rfind("\n", start, end)
            end = cut + 1 if cut >= start else end
        yield text[start:end]
        start = end


class Windows:
    """Training and validation tokens.

    Args:
        text: the last share `validation` of its tokens is held out.
        context: tokens of a window, at least 2: each predicts the next.

    Raises:
        InvalidInput: a part is too short.
    """

    def __init__(self, text: str, tokenizer: Tokenizer, context: int, validation: float) -> None:
        tokens = torch.cat([torch.tensor(tokenizer.encode(piece), dtype=torch.int32) for piece in pieces(text)])
        held = max(2, int(len(tokens) * validation)) if validation else 0
        self.context = context
        self.training, self.validation = tokens[: len(tokens) - held], tokens[len(tokens) - held :]
        if len(self.training) < context:
            raise InvalidInput(
                f"the corpus has {len(self.training)} training tokens, fewer than the context of {context}: "
                "give more text, or a shorter context"
            )

    def batch(self, step: int, part: int, rows: int, seed: int) -> Tensor:
        """int64 [rows, context] at random places, the `part`-th of this step's batches."""
        dice = torch.Generator().manual_seed(((seed * 1_000_003 + step) * 8191 + part) % (1 << 63))
        starts = torch.randint(len(self.training) - self.context + 1, (rows,), generator=dice)
        return torch.stack([self.training[start : start + self.context] for start in starts.tolist()]).long()

    def validation_batches(self, rows: int, most: int) -> Iterator[Tensor]:
        """At most `most` batches of int64 [rows, context], one after the other from the start."""
        width = min(self.context, len(self.validation))
        if width < 2:
            return
        whole = self.validation[: len(self.validation) // width * width].view(-1, width)
        yield from whole[: rows * most].long().split(rows)


__all__ = ["Windows", "pieces", "read_corpus"]
