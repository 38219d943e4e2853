"""The local extractor: what it finds, what it survives, and that its rooms agree with one another."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from mnemos.core.errors import InvalidInput
from mnemos.text.encode import openie, openie_model
from mnemos.text.encode.entities import canonical
from mnemos.text.encode.minilm import DIM, Inputs, normalised, reference_forward, reference_states
from mnemos.text.encode.onnx_graph import open_states
from mnemos.text.encode.openie import Encoder, Extraction, Extractor, accepted, extract_local, linked
from mnemos.text.encode.openie_model import Network, all_spans, pair_features, relation_words
from mnemos.text.encode.openie_words import WINDOW, Reader

PASSAGE = (
    "Turvey Hall (Lindale)\nTurvey Hall is a former boarding school in Lindale, Norland. It was founded in 1871 by "
    "Amelia Krantz and closed in 1954. She had studied at the University of Bergen."
)


@pytest.fixture(scope="session")
def learned(weights, cache) -> Extractor:
    return Extractor(parts=(Encoder(weights, cache), Network.load()))


@pytest.fixture(scope="session")
def reader(weights) -> Reader:
    return Reader(Tokenizer.from_file(str(weights / "tokenizer.json")))


@pytest.fixture(params=["network", "rules"])
def extractor(request) -> Extractor:
    return Extractor(rules=True) if request.param == "rules" else request.getfixturevalue("learned")


def test_an_unseen_passage_gives_its_facts(learned):
    (found,) = learned.extract([PASSAGE])
    related = {(s, o): r for s, r, o in found.triples}
    assert {"Turvey Hall", "Lindale", "Norland", "1871", "Amelia Krantz", "University of Bergen"} <= set(found.entities)
    assert "founded" in related["Turvey Hall", "1871"]
    assert "founded" in related["Turvey Hall", "Amelia Krantz"]
    assert "closed" in related["Turvey Hall", "1954"]
    assert {"University of Bergen"} <= {o for _, _, o in found.triples}


def test_it_stands_for_the_title_given_apart_too(extractor):
    title, body = PASSAGE.split("\n")
    assert extractor.extract([body], [title]) == extractor.extract([PASSAGE])
    assert any(s == "Turvey Hall" and o == "1871" for s, _, o in extractor.extract([PASSAGE])[0].triples)


def test_names_and_arguments_stand_in_the_text(extractor):
    (found,) = extractor.extract([PASSAGE])
    said = " ".join(PASSAGE.split())
    assert all(phrase in said for phrase in [*found.entities, *(p for s, _, o in found.triples for p in (s, o))])
    assert found.triples
    assert len(set(map(canonical, found.entities))) == len(found.entities)


def test_every_name_of_the_network_has_a_triple(learned):
    (found,) = learned.extract([PASSAGE])
    ends = " | ".join(phrase for s, _, o in found.triples for phrase in (s, o))
    assert all(name in ends for name in found.entities)


def test_a_text_does_not_depend_on_its_neighbours(extractor):
    texts = [PASSAGE, "", "Ann met Bob in Oslo.", "東京は日本の首都です。"]
    assert extractor.extract(texts) == [one for text in texts for one in extractor.extract([text])]


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n\t\n ",
        "\n\n.",
        ".",
        "(((" * 500,
        "\"'" * 500,
        "a" * 30_000,
        "word " * 9_000,
        "Title\n",
        "Title\n\x00\ufeff\u200b",
        "\ud83d lone",
        "東京は日本の首都です。" * 50,
        "القاهرة هي عاصمة مصر.",
        "กรุงเทพมหานครเป็นเมืองหลวง",
        "👩‍👩‍👧‍👦 🎉" * 100,
        "A. B. C. D. " * 300,
        "e\u0301" * 999,
        "X" + "-x" * 4000,
    ],
)
def test_any_text_gives_an_extraction(extractor, text):
    (found,) = extractor.extract([text])
    assert isinstance(found, Extraction)
    assert all(len(triple) == 3 and triple[0] and triple[1] and triple[2] for triple in found.triples)


def test_only_the_beginning_of_a_huge_text_is_read(extractor, monkeypatch):
    monkeypatch.setattr(openie, "MAX_CHARACTERS", 1000)
    head = ("Ann met Bob in Oslo. " * 1000)[:1000]
    assert extractor.extract([head + "Zed lives in Rome. " * 1_000_000]) == extractor.extract([head])


@settings(max_examples=40, deadline=None)
@given(text=st.text(max_size=300), title=st.text(max_size=40))
def test_no_text_and_no_title_raise(learned, text, title):
    (found,) = learned.extract([text], [title])
    assert found == learned.extract([text], [title])[0]


def test_bad_input_says_what_is_wrong(extractor):
    with pytest.raises(InvalidInput, match="sequence of texts"):
        extractor.extract("one text")
    with pytest.raises(InvalidInput, match="1 titles for 2 texts"):
        extractor.extract(["a", "b"], ["t"])
    with pytest.raises(InvalidInput, match=r"\[0\] is int"):
        extractor.extract([3])  # type: ignore[list-item]


def test_without_the_encoder_rules_extract(monkeypatch):
    monkeypatch.setattr(openie, "find_weights", lambda: None)
    bare = Extractor()
    assert bare.name == "openie-rules"
    assert bare.extract([PASSAGE]) == Extractor(rules=True).extract([PASSAGE])


def test_extract_local_is_the_extractor_of_this_machine():
    assert (
        extract_local("Marie Curie was born in Warsaw.") == Extractor().extract(["Marie Curie was born in Warsaw."])[0]
    )


def test_importing_it_reads_no_weights_and_no_torch():
    code = (
        "import sys, mnemos.text.encode.openie; "
        "assert not {'torch', 'tokenizers', 'onnxruntime', 'onnx', 'safetensors'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_shipped_weights_are_small_and_no_pickle():
    assert openie_model.WEIGHTS.stat().st_size < 2_000_000
    with np.load(openie_model.WEIGHTS, allow_pickle=False) as stored:
        assert all(np.isfinite(stored[name]).all() for name in stored)


def test_the_states_of_all_layers_are_what_the_embedder_pools(weights, sentences, f32):
    tensors, inputs = load_file(weights / "model.safetensors"), Inputs(weights / "model.safetensors")
    for ids in f32.load()[0](sentences)[:4]:
        x = inputs([ids])
        states = reference_states(tensors, x)
        np.testing.assert_allclose(normalised(states.mean(1)), reference_forward(tensors, x), atol=1e-6)


def test_the_graph_of_some_layers_equals_the_reference(weights, cache):
    tensors, inputs = load_file(weights / "model.safetensors"), Inputs(weights / "model.safetensors")
    x = inputs(np.random.default_rng(0).integers(1000, 30000, (2, 9)).tolist())
    wanted = reference_states(tensors, x, 3)
    exact = open_states(weights / "model.safetensors", "f32", cache, 3)(x)
    np.testing.assert_allclose(exact, wanted, atol=2e-4)
    close = open_states(weights / "model.safetensors", "int8", cache, 3)(x)
    cosine = (close * wanted).sum(-1) / np.linalg.norm(close, axis=-1) / np.linalg.norm(wanted, axis=-1)
    assert cosine.min() > 0.97


def test_windows_cover_the_body_and_fit_the_encoder(reader):
    body = " ".join(f"Sentence {n} names the town of Place{n} and its unpronounceable mayor." for n in range(60))
    body += " " + "endless " * 400
    windows = reader.read("A title", body)
    assert len(windows) > 2
    assert max(len(w.ids) for w in windows) <= WINDOW
    covered = [span for w in windows for span in w.spans[w.title :]]
    assert "".join(body[a:b] for a, b in covered) == "".join(body.split())
    for w in windows:
        assert len(w.words) == len(w.spans) == len(w.sentence) == len(w.shapes)
        assert sorted(set(w.owner.tolist())) == [-1, *range(len(w.words))]
        assert w.words[: w.title] == ["A", "title"]


def test_spans_stay_in_their_sentence_and_out_of_the_title():
    sentence = np.array([-1, 0, 0, 0, 1, 1])
    first, last = all_spans(sentence, 1)
    assert set(zip(first.tolist(), last.tolist(), strict=True)) == {
        (1, 1), (1, 2), (1, 3), (2, 2), (2, 3), (3, 3), (4, 4), (4, 5), (5, 5)
    }  # fmt: skip


def test_relation_words_are_the_sentence_without_its_pair():
    sentence = np.array([-1, -1, 0, 0, 0, 1, 1, 1, 1])
    own, there = np.array([0, 1]), np.array([6, 7])
    assert relation_words(own, there, sentence, 2)[0].tolist() == [5, 8]
    assert relation_words(np.array([3, 3]), own, sentence, 2)[0].tolist() == [2, 4]


def test_variants_of_a_likelier_pair_are_left_out_and_forgotten_names_come_back():
    subjects, objects = np.array([[0, 0], [3, 4]]), np.array([[6, 8], [8, 9], [12, 12]])
    p = np.array([[0.9, 0.8, 0.1], [0.3, 0.2, 0.05]], np.float32)
    kept = accepted(p, subjects, objects, 0.25)
    assert kept == [(0, 0), (1, 0)]
    assert linked(kept, p, subjects, objects, [(12, 12), (8, 9)]) == [*kept, (0, 2)]
    assert pair_features(subjects, objects, np.zeros(13, np.int64), 1)[..., 2].sum() == 0


def test_every_shipped_tensor_fits_the_encoder():
    with np.load(openie_model.WEIGHTS) as stored:
        assert stored["inp.weight"].shape[1] == DIM
