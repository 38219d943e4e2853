"""The extractor's training: labels stand where the strings stand, and torch and numpy are the same network."""

from __future__ import annotations

import json
import lzma

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tokenizers import Tokenizer  # noqa: E402

from mnemos.learn import openie as learn  # noqa: E402
from mnemos.learn.openie_gold import align, key  # noqa: E402
from mnemos.text.encode import openie_model as shared  # noqa: E402
from mnemos.text.encode.minilm import find_weights  # noqa: E402
from mnemos.text.encode.openie import Extraction  # noqa: E402
from mnemos.text.encode.openie_words import Reader, Window  # noqa: E402

TITLE, TEXT = "Turvey Hall", "Turvey Hall is a school in Lindale. It was founded by the Krantzes and Bo Li in 1871."


@pytest.fixture(scope="module")
def window() -> Window:
    folder = find_weights()
    if folder is None:
        pytest.skip("the weights of all-MiniLM-L6-v2 are not on this machine")
    (one,) = Reader(Tokenizer.from_file(str(folder / "tokenizer.json"))).read(TITLE, TEXT)
    return one


@pytest.fixture(scope="module")
def some(window) -> list[learn.Example]:
    triples = [(TITLE, "is in", "Lindale"), (TITLE, "founded by", "Krantz"), (TITLE, "was founded by", "Bo Li")]
    gold = align(window, TITLE, TITLE, ["Lindale", "Bo Li"], triples)
    rng = np.random.default_rng(0)
    return [learn.example(window, rng.normal(size=(len(window.words), 384)).astype(np.float16), gold) for _ in range(3)]


def words(window: Window, span: tuple[int, int]) -> str:
    return " ".join(window.words[span[0] : span[1] + 1])


def test_strings_are_found_without_articles_and_plurals(window):
    triples = [
        ("Turvey Hall (Lindale)", "was founded by", "Krantze"),
        ("the Krantzes", "founded in", "1871"),
        ("Turvey Hall", "owned by", "nobody here"),
    ]
    gold = align(window, TITLE, "Turvey Hall (Lindale)", ["a school", "Bo Li", "Rome"], triples)
    assert {words(window, span) for span in gold.entities} == {"school", "Bo Li"}
    (first, second) = gold.pairs
    assert first[0] is None
    assert words(window, first[1]) == "Krantzes"
    assert [window.words[k] for k in first[2]] == ["was", "founded", "by"]
    assert (words(window, second[0]), words(window, second[1])) == ("Krantzes", "1871")
    assert [window.words[k] for k in second[2]] == ["founded", "in"]


def test_the_key_of_a_phrase_forgets_how_it_is_written():
    assert key("The  Peer-reviewed Journals!") == key("peer-reviewed journal")
    assert key("Oslo") != key("Bergen")


def test_torch_and_numpy_are_the_same_network(window, some):
    torch.manual_seed(0)
    model = learn.Trainable().eval()
    network = shared.Network({name: value.numpy() for name, value in model.state_dict().items()})
    e, t = some[0], window.title
    states = e.states.astype(np.float32)
    h = network.words(states, window.shapes)
    with torch.no_grad():
        real = torch.ones(len(states), 1)
        h2 = model.words(torch.from_numpy(states), torch.from_numpy(window.shapes), real)
        np.testing.assert_allclose(h, h2.numpy(), atol=1e-4)
        logits = model.spans(h2, torch.from_numpy(e.first), torch.from_numpy(e.last))
        np.testing.assert_allclose(network.spans(h, e.first, e.last), logits.numpy(), atol=1e-4)
        s, o = np.array([[0, t - 1], [t, t + 1]]), np.array([[8, 8], [12, 13], [15, 15]])
        g = [network.meanings(h, spans, t) for spans in (s, o)]
        g2 = [model.meanings(h2, torch.from_numpy(x), torch.from_numpy((x[:, 1] < t) * np.float32(1))) for x in (s, o)]
        np.testing.assert_allclose(g[0], g2[0].numpy(), atol=1e-4)
        f = shared.pair_features(s, o, window.sentence, t)
        flat = model.pairs(
            g2[0].repeat_interleave(3, 0), g2[1].repeat(2, 1), torch.from_numpy(f.reshape(6, -1))
        ).reshape(2, 3)
        np.testing.assert_allclose(network.pairs(*g, f), flat.numpy(), atol=1e-4)
        k, fk = shared.relation_words(s[0], o[1], window.sentence, t)
        flat = model.relations(
            h2[torch.from_numpy(k)], g2[0][:1].expand(len(k), -1), g2[1][1:2].expand(len(k), -1), torch.from_numpy(fk)
        )
        np.testing.assert_allclose(network.relation(h[k], g[0][0], g[1][1], fk), flat.numpy(), atol=1e-4)


def test_a_batch_costs_what_its_windows_cost(some):
    torch.manual_seed(0)
    model = learn.Trainable().eval()
    with torch.no_grad():
        alone = [float(learn.loss(model, [e])) for e in some]
        assert float(learn.loss(model, some)) == pytest.approx(np.mean(alone), rel=1e-4)


def test_training_learns_and_repeats(some, capsys):
    first, second = (learn.train(some * 4, epochs=2, seed=1) for _ in range(2))
    assert all((first[name] == second[name]).all() for name in first)
    lines = capsys.readouterr().out.splitlines()
    losses = [float(line.rsplit(" ", 1)[1]) for line in lines[:2]]
    assert losses[1] < losses[0]
    shared.Network(first).words(some[0].states.astype(np.float32), some[0].window.shapes)


def test_the_shipped_weights_are_those_of_the_trained_shape():
    with np.load(shared.WEIGHTS, allow_pickle=False) as stored:
        shapes = {name: stored[name].shape for name in stored}
    assert shapes == {name: tuple(value.shape) for name, value in learn.Trainable().state_dict().items()}


def test_triples_that_are_none_are_left_out_of_a_file(tmp_path):
    doc = {
        "title": "T",
        "text": "x",
        "extracted_entities": [],
        "extracted_triples": [["a", "b", "c"], ["a", "b"], [1, "b", "c"]],
    }
    data = json.dumps({"docs": [doc]}).encode()
    (tmp_path / "plain.json").write_bytes(data)
    (tmp_path / "packed.json.xz").write_bytes(lzma.compress(data))
    for name in ("plain.json", "packed.json.xz"):
        (loaded,) = learn.load(tmp_path / name)
        assert loaded["extracted_triples"] == [["a", "b", "c"]]


def test_the_report_counts_agreement_by_key():
    class Perfect:
        def extract(self, texts):
            return [Extraction(("the Oslo", "Rome"), (("Oslo", "is", "City"),)) for _ in texts]

    doc = {
        "title": "T",
        "text": "x",
        "extracted_entities": ["Oslo"],
        "extracted_triples": [["oslo", "was", "the city"]],
    }
    found = learn.report([doc, doc], Perfect())  # type: ignore[arg-type]
    assert found["pair F1"] == 1
    assert (found["name precision"], found["name recall"]) == (0.5, 1)


def test_a_title_is_always_in_the_same_part():
    assert [learn.part("Oslo"), learn.part("Oslo")] == [learn.part("Oslo")] * 2
    assert {learn.part(str(n)) for n in range(50)} == {0, 1, 2}
