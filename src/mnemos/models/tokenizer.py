"""Text to token ids and back: bytes, or byte-pair encodings of a corpus.

Both spell any text, since both end in bytes; decoding joins bytes, so that a character cut in two by a token
border comes out whole when its rest arrives.
"""

from __future__ import annotations

import codecs
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnemos.core.errors import InvalidInput, MissingExtra, NotFound

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Backend

FILE = "tokenizer.json"
SPECIALS = ("<pad>", "<bos>", "<eos>")


class Tokenizer(ABC):
    """What both kinds share."""

    vocab_size: int
    pad_id: int
    bos_id: int
    eos_id: int

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Token ids of `text`; text that looks like a special token is text."""

    @abstractmethod
    def token_bytes(self, token: int) -> bytes:
        """What one token spells; nothing for a special one.

        Raises:
            InvalidInput: no such token.
        """

    @abstractmethod
    def save(self, folder: str | Path) -> Path:
        """Write `tokenizer.json` into `folder`; returns its path."""

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of token ids, with � for bytes that are no UTF-8."""
        return b"".join(map(self.token_bytes, tokens)).decode("utf-8", errors="replace")

    def decode_stream(self, tokens: Iterable[int]) -> Iterator[str]:
        """Pieces of text as tokens come, each as soon as its characters are whole; O(1) per token."""
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        for token in tokens:
            if piece := decoder.decode(self.token_bytes(token)):
                yield piece
        if rest := decoder.decode(b"", final=True):
            yield rest


class ByteTokenizer(Tokenizer):
    """One token per byte of UTF-8, and three specials: needs no training and no package."""

    vocab_size = 256 + len(SPECIALS)
    pad_id, bos_id, eos_id = 256, 257, 258

    def encode(self, text: str) -> list[int]:
        """The bytes of `text`.

        Raises:
            InvalidInput: `text` holds half a surrogate pair, which UTF-8 cannot write.
        """
        return list(_utf8(text))

    def token_bytes(self, token: int) -> bytes:
        """The byte itself; nothing for a special token."""
        _check_token(token, self.vocab_size)
        return bytes([token]) if token < 256 else b""

    def save(self, folder: str | Path) -> Path:
        """Write `tokenizer.json` into `folder`; returns its path."""
        path = Path(folder) / FILE
        path.write_text(json.dumps({"type": "bytes", "specials": SPECIALS}), "utf-8")
        return path


class BPETokenizer(Tokenizer):
    """Byte-level byte-pair encoding, in the JSON of the `tokenizers` package.

        BPETokenizer.train(texts, vocab_size=4096).save("model/")

    `PreTrainedTokenizerFast(tokenizer_file="model/tokenizer.json")` of transformers reads the same file.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.vocab_size = backend.get_vocab_size()
        ids: list[int] = []
        for special in SPECIALS:
            if (token := backend.token_to_id(special)) is None:
                raise InvalidInput(f"the tokenizer lacks {special}: train one with BPETokenizer.train")
            ids.append(token)
        self.pad_id, self.bos_id, self.eos_id = ids
        self._spelling = _spelling(backend, set(ids))

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int = 4096) -> BPETokenizer:
        """Learn the merges of `texts`. A small corpus may give fewer tokens than asked for.

        Raises:
            InvalidInput: `vocab_size` does not hold the bytes and the specials.
            MissingExtra: the package `tokenizers` is not installed.
        """
        if vocab_size < 256 + len(SPECIALS):
            raise InvalidInput(f"vocab_size {vocab_size}: at least {256 + len(SPECIALS)}, for the bytes and specials")
        package = _tokenizers()
        backend = package.Tokenizer(package.models.BPE())
        backend.pre_tokenizer = package.pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = package.decoders.ByteLevel()
        trainer = package.trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=list(SPECIALS),
            initial_alphabet=sorted(package.pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        backend.train_from_iterator(texts, trainer)
        backend.encode_special_tokens = True
        return cls(backend)

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`.

        Raises:
            InvalidInput: `text` holds half a surrogate pair, which UTF-8 cannot write.
        """
        _utf8(text)
        ids: list[int] = self.backend.encode(text, add_special_tokens=False).ids
        return ids

    def token_bytes(self, token: int) -> bytes:
        """The bytes that a token merges; nothing for a special token."""
        _check_token(token, self.vocab_size)
        return self._spelling[token]

    def save(self, folder: str | Path) -> Path:
        """Write `tokenizer.json` into `folder`; returns its path."""
        path = Path(folder) / FILE
        self.backend.save(str(path))
        return path


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """The tokenizer that was saved in `folder`.

    Raises:
        NotFound: there is none.
        InvalidInput: its file is damaged, or of a kind we do not know.
        MissingExtra: it is a byte-pair encoding and `tokenizers` is not installed.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        raise NotFound(f"there is no tokenizer in {folder}: `mnemos lm train` writes {FILE} beside the model")
    try:
        data = json.loads(path.read_text("utf-8"))
    except ValueError as why:
        raise InvalidInput(f"{path} is damaged: {why}") from None
    if isinstance(data, dict) and data.get("type") == "bytes":
        return ByteTokenizer()
    if not isinstance(data, dict) or (data.get("model") or {}).get("type") != "BPE":
        raise InvalidInput(f"{path} is neither of bytes nor a byte-pair encoding: train one with `mnemos lm train`")
    backend_of: Any = _tokenizers().Tokenizer
    try:
        backend = backend_of.from_file(str(path))
    except Exception as why:  # the package raises nothing narrower
        raise InvalidInput(f"{path} is damaged: {why}") from None
    backend.encode_special_tokens = True
    return BPETokenizer(backend)


def _bytes_of_signs() -> dict[str, int]:
    """The printable sign of each byte, in byte-level encodings since GPT-2, back to the byte."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(hidden)}


def _spelling(backend: Backend, specials: set[int]) -> list[bytes]:
    signs = _bytes_of_signs()
    names = [backend.id_to_token(token) for token in range(backend.get_vocab_size())]
    return [
        b"" if token in specials or name is None else bytes(signs[sign] for sign in name)
        for token, name in enumerate(names)
    ]


def _utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as why:
        raise InvalidInput(f"the text holds {text[why.start]!r}, half a character: repair it first") from None


def _check_token(token: int, vocab_size: int) -> None:
    if not 0 <= token < vocab_size:
        raise InvalidInput(f"token {token} is not in this vocabulary of {vocab_size}")


def _tokenizers() -> Any:
    try:
        import tokenizers
        import tokenizers.decoders
        import tokenizers.models
        import tokenizers.pre_tokenizers
        import tokenizers.trainers
    except ImportError:
        raise MissingExtra("a byte-pair tokenizer", "neural") from None
    return tokenizers


__all__ = ["BPETokenizer", "ByteTokenizer", "Tokenizer", "load_tokenizer"]
