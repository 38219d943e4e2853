"""Tokenizers: any text there and back, whole or as it streams."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from mnemos.core.errors import InvalidInput, NotFound
from mnemos.models import BPETokenizer, ByteTokenizer, Tokenizer, load_tokenizer

CORPUS = ["the cat sat on the mat, the dog did not; ça alors! 日本語のテキスト. " * 20]
BYTES, PAIRS = ByteTokenizer(), BPETokenizer.train(CORPUS, 320)
KINDS = pytest.mark.parametrize("tokenizer", [BYTES, PAIRS], ids=["bytes", "bpe"])
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@KINDS
@settings(max_examples=60, deadline=None)
@given(text=TEXT)
def test_any_text_comes_back(tokenizer: Tokenizer, text: str) -> None:
    tokens = tokenizer.encode(text)
    assert all(0 <= token < tokenizer.vocab_size for token in tokens)
    assert tokenizer.decode(tokens) == text
    assert "".join(tokenizer.decode_stream(tokens)) == text


@KINDS
def test_a_stream_gives_whole_characters_as_soon_as_they_are(tokenizer: Tokenizer) -> None:
    pieces = list(tokenizer.decode_stream(tokenizer.encode("é🜁x")))
    assert pieces[:1] == ["é"]
    assert "�" not in "".join(pieces)


@KINDS
def test_any_tokens_can_be_decoded(tokenizer: Tokenizer) -> None:
    tokens = [*range(tokenizer.vocab_size), tokenizer.encode("é")[0]]
    assert "".join(tokenizer.decode_stream(tokens)) == tokenizer.decode(tokens)


@KINDS
def test_specials_spell_nothing_and_no_text_is_special(tokenizer: Tokenizer) -> None:
    specials = [tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id]
    assert len({*specials}) == 3
    assert tokenizer.decode([*specials, *tokenizer.encode("a")]) == "a"
    assert not {*specials} & {*tokenizer.encode("<eos> <pad>")}


@KINDS
def test_it_comes_back_from_its_file(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert type(again) is type(tokenizer)
    assert again.vocab_size == tokenizer.vocab_size
    assert again.encode("the <eos> cat ☃") == tokenizer.encode("the <eos> cat ☃")


def test_pairs_shorten_what_they_were_trained_on() -> None:
    assert len(PAIRS.encode(CORPUS[0])) < 0.6 * len(BYTES.encode(CORPUS[0]))
    assert PAIRS.vocab_size <= 320


def test_transformers_reads_the_same_file(tmp_path: Path) -> None:
    path = PAIRS.save(tmp_path)
    assert PreTrainedTokenizerFast(tokenizer_file=str(path))("the cat ☃").input_ids == PAIRS.encode("the cat ☃")


def test_training_is_the_same_every_time() -> None:
    assert BPETokenizer.train(CORPUS, 320).backend.to_str() == PAIRS.backend.to_str()


@KINDS
def test_wrong_input_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(InvalidInput, match="half a character"):
        tokenizer.encode("a\ud800")
    for token in (-1, tokenizer.vocab_size):
        with pytest.raises(InvalidInput, match="vocabulary"):
            tokenizer.decode([token])


def test_a_vocabulary_must_hold_the_bytes() -> None:
    with pytest.raises(InvalidInput, match="at least 259"):
        BPETokenizer.train(CORPUS, 258)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"model": {"type": "WordPiece"}}', '{"model": {"type": "BPE"}}'])
def test_a_damaged_or_foreign_file_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(NotFound, match="no tokenizer"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(InvalidInput, match=r"damaged|neither"):
        load_tokenizer(tmp_path)
