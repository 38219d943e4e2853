"""The composed graph equals the numpy oracle; its cache survives damage and races."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

from mnemos.core.errors import MissingExtra
from mnemos.text.encode import onnx_graph
from mnemos.text.encode.minilm import Inputs, WordPieces, reference_forward
from mnemos.text.encode.onnx_graph import compose, open_graph


@pytest.fixture(scope="session")
def oracle(weights, sentences):
    """The reference in float64, sentence by sentence."""
    tensors = {
        k: v.astype(np.float64) for k, v in load_file(weights / "model.safetensors").items() if v.dtype.kind == "f"
    }
    inputs = Inputs(weights / "model.safetensors")
    ids = WordPieces(weights / "tokenizer.json")(sentences)
    return np.concatenate([reference_forward(tensors, inputs([i]).astype(np.float64)) for i in ids])


def test_f32_equals_the_oracle(f32, sentences, oracle):
    np.testing.assert_allclose(f32.embed(sentences), oracle, atol=1e-5)


def test_int8_stays_close_to_the_oracle(int8, sentences, oracle):
    cosine = (int8.embed(sentences) * oracle).sum(1)
    assert cosine.min() > 0.98
    assert cosine.mean() > 0.99


def test_a_batch_of_the_graph_equals_its_rows(weights, cache):
    inputs = Inputs(weights / "model.safetensors")
    x = inputs(np.random.default_rng(0).integers(1000, 30000, (5, 9)).tolist())
    for precision in ("f32", "int8"):
        forward = open_graph(weights / "model.safetensors", precision, cache)
        rows = np.concatenate([forward(x[i : i + 1]) for i in range(5)])
        np.testing.assert_allclose(forward(x), rows, atol=1e-5)


def test_composing_again_gives_the_same_bytes(weights, int8, cache):
    int8.load()
    (file,) = cache.glob("minilm-int8-*")
    assert compose(weights / "model.safetensors", "int8") == onnx_graph.read_sealed(file)


def test_a_cached_graph_is_reused_and_a_damaged_one_replaced(weights, int8, sentences, tmp_path, monkeypatch):
    path, expected = weights / "model.safetensors", int8.embed(sentences[:1])
    x = Inputs(path)(WordPieces(weights / "tokenizer.json")(sentences[:1]))
    open_graph(path, "int8", tmp_path)
    (file,) = tmp_path.iterdir()
    good = file.read_bytes()

    composed = []
    real = compose
    monkeypatch.setattr(onnx_graph, "compose", lambda *args: composed.append(args) or real(*args))
    np.testing.assert_array_equal(open_graph(path, "int8", tmp_path)(x), expected)
    assert not composed
    for damaged in (good[:1000], good[:5_000_000] + b"x" + good[5_000_001:]):
        file.write_bytes(damaged)
        np.testing.assert_array_equal(open_graph(path, "int8", tmp_path)(x), expected)
        assert file.read_bytes() == good
    assert len(composed) == 2


def test_a_well_sealed_file_that_is_no_graph_is_replaced(weights, tmp_path):
    path = weights / "model.safetensors"
    open_graph(path, "int8", tmp_path)
    (file,) = tmp_path.iterdir()
    good = file.read_bytes()
    onnx_graph.write_sealed(file, b"no graph")
    open_graph(path, "int8", tmp_path)
    assert file.read_bytes() == good


def test_a_cache_that_cannot_be_written_costs_only_time(weights, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    forward = open_graph(weights / "model.safetensors", "int8", blocked / "below")
    assert forward(np.ones((1, 3, 384), np.float32)).shape == (1, 384)


def test_two_processes_compose_at_once(weights, tmp_path):
    code = (
        "import sys; from pathlib import Path; from mnemos.text.encode.minilm import MiniLM;"
        "m = MiniLM('int8', cache_dir=Path(sys.argv[1]), weights=Path(sys.argv[2]));"
        "print(m.embed(['the same text']).tobytes().hex())"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", code, str(tmp_path), str(weights)]
    both = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    first, second = (process.communicate(timeout=60)[0] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert first == second != ""
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("missing", ["onnxruntime", "onnx"])
def test_missing_packages_say_what_to_install(missing, weights, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_graph, "installed", lambda *names: missing not in names)
    with pytest.raises(MissingExtra, match=r"mnemos\[local\]"):
        open_graph(weights / "model.safetensors", "f32", tmp_path)
