"""The static embedder: a bag of distilled word vectors, deterministic and cached."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemos.core.errors import InvalidInput
from mnemos.text.encode.minilm import MiniLM
from mnemos.text.encode.static import Static

WORDS = ["dog", "cat", "puppy", "music", "guitar", "river", "money", "bank", "summer", "nurse"]


@pytest.fixture(scope="session")
def vocabulary(f32):
    """Some hundred token ids, those of `WORDS` among them."""
    known = f32.load()[0].vocabulary
    return sorted({known[word] for word in WORDS} | set(range(2000, 2600)))


@pytest.fixture(scope="session")
def static(f32, vocabulary, tmp_path_factory):
    return Static(64, cache_dir=tmp_path_factory.mktemp("static"), teacher=f32, vocabulary=vocabulary)


def test_a_reloaded_table_is_identical_and_not_distilled_again(f32, vocabulary, tmp_path):
    def fail(done, total):
        raise AssertionError("distilled again")

    seen = []
    made = Static(32, cache_dir=tmp_path, teacher=f32, vocabulary=vocabulary, progress=lambda *step: seen.append(step))
    texts = ["dog cat", "summer river bank"]
    first = made.embed(texts)
    assert seen[-1] == (len(vocabulary) + 1, len(vocabulary) + 1)  # and [UNK]
    again = Static(32, cache_dir=tmp_path, teacher=f32, vocabulary=vocabulary, progress=fail)
    np.testing.assert_array_equal(again.embed(texts), first)
    np.testing.assert_array_equal(again.load()[1], made.load()[1])


def test_a_damaged_table_is_distilled_again_to_the_same(f32, vocabulary, tmp_path):
    def table():
        return Static(8, cache_dir=tmp_path, teacher=f32, vocabulary=vocabulary[:50]).load()[1]

    first = table()
    (file,) = tmp_path.iterdir()
    good = file.read_bytes()
    file.write_bytes(good[:-100])
    np.testing.assert_array_equal(table(), first)
    assert file.read_bytes() == good


def test_other_vocabularies_and_dimensions_are_other_files(f32, vocabulary, tmp_path):
    for dim, ids in ((8, vocabulary[:40]), (9, vocabulary[:40]), (8, vocabulary[:41])):
        Static(dim, cache_dir=tmp_path, teacher=f32, vocabulary=ids).load()
    assert len(list(tmp_path.iterdir())) == 3


@settings(deadline=None, max_examples=50, derandomize=True)
@given(words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=12), seed=st.randoms(use_true_random=False))
def test_word_order_does_not_matter_and_length_is_one(static, words, seed):
    shuffled = words[:]
    seed.shuffle(shuffled)
    a, b, twice = static.embed([" ".join(words), " ".join(shuffled), " ".join(words * 2)])
    np.testing.assert_allclose(a, b, atol=1e-5)
    np.testing.assert_allclose(a, twice, atol=1e-5)
    assert abs(float(a @ a) - 1) < 1e-5


def test_a_text_is_the_weighted_sum_of_its_words(static):
    pieces, table, _ = static.load()
    ids = [pieces.vocabulary[word] for word in ("dog", "guitar", "dog")]
    expected = table[ids].sum(0)
    np.testing.assert_allclose(static.embed(["dog guitar dog"])[0], expected / np.linalg.norm(expected), atol=1e-6)


def test_rarer_words_weigh_more(static, vocabulary):
    lengths = np.linalg.norm(static.load()[1][vocabulary], axis=1)
    assert lengths[-100:].mean() > lengths[:100].mean()


def test_related_words_are_closer(static):
    dog, puppy, bank = static.embed(["dog", "puppy", "bank"])
    assert dog @ puppy > dog @ bank


@pytest.mark.parametrize("text", ["", " ", "\0", "\ud800", "[CLS] [SEP]", "東", "xylophone"])
def test_texts_without_a_known_word_get_one_fixed_unit_vector(static, text):
    vector, unknown = static.embed([text, "[UNK]"])
    np.testing.assert_allclose(vector, unknown, atol=1e-5)
    assert abs(float(vector @ vector) - 1) < 1e-5


def test_unknown_words_do_not_move_a_known_one(static):
    alone, mixed = static.embed(["guitar", "guitar 東 xylophone"])
    np.testing.assert_allclose(alone, mixed, atol=1e-4)


def test_batches_equal_single_texts_and_none_give_no_rows(static):
    texts = ["dog", "", "cat money", "river " * 2000]
    np.testing.assert_allclose(static.embed(texts), np.concatenate([static.embed([t]) for t in texts]), atol=1e-6)
    assert static.embed([]).shape == (0, 64)


def test_the_name_tells_teacher_and_dimension(tmp_path):
    assert Static(cache_dir=tmp_path).name == "static-minilm-256"
    assert Static(64, teacher=MiniLM("int8", cache_dir=tmp_path)).name == "static-minilm-int8-64"


def test_impossible_dimensions_and_token_ids_are_refused(f32, tmp_path):
    for dim in (0, 385):
        with pytest.raises(InvalidInput, match=f"dim {dim}"):
            Static(dim)
    with pytest.raises(InvalidInput, match="999999"):
        Static(8, cache_dir=tmp_path, teacher=f32, vocabulary=[2000, 999999]).load()
