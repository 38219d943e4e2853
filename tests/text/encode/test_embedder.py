"""`resolve` chooses by name and teaches on a wrong one; texts are checked; sealed files show damage."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from mnemos.core.errors import InvalidInput, MissingExtra
from mnemos.text.encode import embedder
from mnemos.text.encode.embedder import (
    Embedder,
    checked,
    default_cache_dir,
    normalised,
    read_sealed,
    resolve,
    write_sealed,
)


class Constant:
    name = "constant"
    dim = 2

    def embed(self, texts):
        return np.tile(np.float32([1, 0]), (len(texts), 1))


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("minilm", "minilm-int8"),
        ("minilm-int8", "minilm-int8"),
        ("minilm-f32", "minilm-f32"),
        ("fast", "static-minilm-256"),
        ("openai:some-model@8", "openai:some-model@8"),
        ("openai:with@sign@8", "openai:with@sign@8"),
    ],
)
def test_each_name_resolves_without_loading_anything(name, full, tmp_path):
    found = resolve(name, cache_dir=tmp_path)
    assert isinstance(found, Embedder)
    assert found.name == full
    assert found.dim == {"m": 384, "f": 256, "o": 8}[name[0]]
    assert not list(tmp_path.iterdir())


def test_none_means_no_vectors_and_a_ready_embedder_is_itself():
    ready = Constant()
    assert resolve(None) is None
    assert resolve("none") is None
    assert resolve(ready) is ready


def test_auto_is_the_default_local_model(weights, tmp_path):
    found = resolve("auto", cache_dir=tmp_path)
    assert found is not None
    assert found.name == "minilm-int8"


@pytest.mark.parametrize("missing", ["tokenizers", "safetensors"])
def test_auto_is_none_without_its_packages(missing, monkeypatch):
    monkeypatch.setattr(embedder, "installed", lambda *names: missing not in names)
    assert resolve("auto") is None


def test_auto_is_none_without_weights(monkeypatch):
    monkeypatch.setattr("mnemos.text.encode.minilm.find_weights", lambda: None)
    assert resolve("auto") is None


def test_without_onnxruntime_the_default_is_f32_and_int8_says_what_to_install(monkeypatch, tmp_path):
    absent = ("onnxruntime", "onnx")
    for module in ("embedder", "minilm"):
        monkeypatch.setattr(
            f"mnemos.text.encode.{module}.installed", lambda *names: not any(n in absent for n in names)
        )
    assert resolve("minilm", cache_dir=tmp_path).name == "minilm-f32"
    with pytest.raises(MissingExtra, match=r"mnemos\[local\]"):
        resolve("minilm-int8", cache_dir=tmp_path)


@pytest.mark.parametrize(("name", "extra"), [("minilm", "local"), ("fast", "local"), ("openai:m", "llm")])
def test_a_named_embedder_without_packages_raises_missing_extra(name, extra, monkeypatch):
    monkeypatch.setattr(embedder, "installed", lambda *names: False)
    with pytest.raises(MissingExtra) as caught:
        resolve(name)
    assert caught.value.extra == extra
    assert name in str(caught.value)


@pytest.mark.parametrize("name", ["minilm-f16", "MiniLM", "", "openai", "best"])
def test_a_wrong_name_lists_the_right_ones(name):
    with pytest.raises(InvalidInput, match=r"auto, none, minilm, .*fast, openai:<model>"):
        resolve(name)


@pytest.mark.parametrize("name", ["openai:", "openai:@3", "openai:m@", "openai:m@0", "openai:m@-1", "openai:m@x"])
def test_a_malformed_endpoint_name_is_refused(name):
    with pytest.raises(InvalidInput, match="dimensions"):
        resolve(name)


def test_an_object_that_cannot_embed_is_refused():
    with pytest.raises(InvalidInput, match="is no embedder"):
        resolve(3.5)  # type: ignore[arg-type]


def test_texts_must_be_a_sequence_of_strings():
    with pytest.raises(InvalidInput, match="one string"):
        checked("hello")
    with pytest.raises(InvalidInput, match=r"texts\[1\] is int"):
        checked(["a", 3])  # type: ignore[list-item]


def test_lone_surrogates_are_replaced_and_pairs_joined():
    assert checked(["a\ud800b", "\ud83d\ude00", "plain\0"]) == ["a\ufffdb", "\U0001f600", "plain\0"]


def test_normalised_rows_have_unit_length():
    rows = normalised(np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32))
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


def test_a_sealed_file_comes_back_and_every_damage_shows(tmp_path):
    path = tmp_path / "deep" / "file"
    assert read_sealed(path) is None
    write_sealed(path, b"data" * 50)
    assert read_sealed(path) == b"data" * 50
    assert [p.name for p in path.parent.iterdir()] == ["file"]
    whole = path.read_bytes()
    flipped = bytes([whole[0] ^ 1]) + whole[1:]
    for damaged in (whole[:-1], whole[1:], flipped, whole + b"x", b"", b"short"):
        path.write_bytes(damaged)
        assert read_sealed(path) is None


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    write_sealed(tmp_path / "file" / "below", b"data")
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.parametrize(
    ("platform", "variable", "below"),
    [
        ("linux", "XDG_CACHE_HOME", ()),
        ("win32", "LOCALAPPDATA", ()),
        ("darwin", "HOME", ("Library", "Caches")),
    ],
)
def test_the_cache_folder_follows_the_platform(platform, variable, below, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv(variable, str(tmp_path))
    assert default_cache_dir() == tmp_path.joinpath(*below, "mnemos")


def test_the_cache_folder_has_a_default_without_variables(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert default_cache_dir() == Path.home() / ".cache" / "mnemos"
