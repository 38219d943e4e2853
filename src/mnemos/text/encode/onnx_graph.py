"""MiniLM as an ONNX graph, composed from the published weights without torch.

Few, large operations: one product for queries, keys and values, the 1/sqrt(d) inside its weights;
attention, skip + layer norm and bias + GELU as onnxruntime's fused kernels; mean and unit length at the
end. Word embeddings stay outside: the graph starts from their sum, [B, T, 384].

int8 goes beyond per-tensor dynamic quantization, which loses most of its accuracy to the few tokens
([CLS], [SEP]) and channels with huge activations, and makes a vector depend on its neighbours:
  - each token is scaled by its own maximum (per-token quantization), so a text's vector is its own;
  - channels that follow a layer norm are evened out by SmoothQuant (Xiao et al., arXiv:2211.10438,
    eq. 4, alpha = 1/2) with maxima from a few calibration sentences;
  - weights get 7 bits per output channel, so that the 16-bit sums of processors without VNNI never
    saturate and every machine computes the same integers.
Measured: cosine to f32 0.997 where per-tensor has 0.992, at the same speed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnemos.core.errors import MissingExtra
from mnemos.text.encode.embedder import Vectors, installed, read_sealed, write_sealed
from mnemos.text.encode.minilm import (
    DIM,
    EPSILON,
    HEADS,
    LAYERS,
    Inputs,
    Precision,
    WordPieces,
    fingerprint,
)

VERSION = 1
"""Part of the cached file's name: raise it when the graph changes."""
OPSET, FUSED = 17, "com.microsoft"


def open_graph(weights: Path, precision: Precision, cache_dir: Path) -> Callable[[Vectors], Vectors]:
    """The network as a function from [B, T, 384] to unit vectors [B, 384]; safe to share between threads.

    The graph is composed on first use and kept in `cache_dir`; a damaged file is replaced.

    Raises:
        MissingExtra: onnxruntime is not installed, or the graph must be composed and onnx is not.
    """
    return _opened(f"minilm-{precision}-v{VERSION}", weights, cache_dir, lambda: compose(weights, precision))


def open_states(weights: Path, precision: Precision, cache_dir: Path, layers: int) -> Callable[[Vectors], Vectors]:
    """The first `layers` layers as a function from [B, T, 384] to tokens [B, T, 384]: a graph of its own.

    Raises:
        MissingExtra: as `open_graph`.
    """
    name = f"minilm-states{layers}-{precision}-v{VERSION}"
    return _opened(name, weights, cache_dir, lambda: compose(weights, precision, layers))


def _opened(name: str, weights: Path, cache_dir: Path, composed: Callable[[], bytes]) -> Callable[[Vectors], Vectors]:
    if not installed("onnxruntime"):
        raise MissingExtra("the ONNX embedder", "local")
    path = cache_dir / f"{name}-{fingerprint(weights)}.onnx.sealed"
    model = read_sealed(path)
    session = _session(model) if model is not None else None
    if session is None:
        model = composed()
        session = _session(model, strict=True)
        write_sealed(path, model)
    run = session.run

    def forward(x: Vectors) -> Vectors:
        result: Vectors = run(None, {"x": x})[0]
        return result

    return forward


def compose(weights: Path, precision: Precision, layers: int | None = None) -> bytes:
    """The serialized ONNX model: unit vectors, or the tokens after `layers` layers.

    Raises:
        MissingExtra: onnx is not installed.
    """
    if not installed("onnx"):
        raise MissingExtra("composing the embedder's graph", "local")
    from safetensors.numpy import load_file

    tensors = load_file(weights)
    build, output = _network(tensors, _calibrate(tensors, weights) if precision == "int8" else None, layers)
    return build.model([output])


def _network(
    tensors: Mapping[str, Vectors], peaks: Mapping[str, Vectors] | None, layers: int | None = None
) -> tuple[_Builder, str]:
    build = _Builder(peaks)
    x = build.norm("x", tensors, "embeddings.LayerNorm")
    for i in range(LAYERS if layers is None else layers):
        x = _layer(build, tensors, f"encoder.layer.{i}.", x)
    if layers is not None:
        return build, x
    pooled = build.op("ReduceMean", x, axes=[1], keepdims=0)
    return build, build.op("LpNormalization", pooled, axis=-1, p=2)


def _layer(build: _Builder, tensors: Mapping[str, Vectors], layer: str, x: str) -> str:
    def weight(name: str) -> Vectors:
        return tensors[f"{layer}{name}.weight"].T

    def bias(name: str) -> str:
        return build.constant(tensors[f"{layer}{name}.bias"])

    own = ["attention.self." + part for part in ("query", "key", "value")]
    scale = np.float32((DIM // HEADS) ** -0.5)
    fused = np.concatenate([weight(own[0]) * scale, weight(own[1]), weight(own[2])], axis=1)
    biases = [tensors[f"{layer}{name}.bias"] for name in own]
    qkv = build.dense(x, fused, layer + own[0])
    parts = build.op("Split", qkv, build.constant(np.array([DIM] * 3)), outputs=3, axis=-1).split()
    fused_bias = build.constant(np.concatenate([biases[0] * scale, *biases[1:]]))
    heads: dict[str, Any] = {"num_heads": HEADS, "scale": 1.0}
    attended = build.op("MultiHeadAttention", *parts, fused_bias, domain=FUSED, **heads)

    out = "attention.output.dense"
    y = build.dense(attended, weight(out), layer + out)
    x = build.skip_norm(y, x, bias(out), tensors, layer + "attention.output.LayerNorm")
    wide = build.dense(x, weight("intermediate.dense"), layer + "intermediate.dense")
    wide = build.op("BiasGelu", wide, bias("intermediate.dense"), domain=FUSED)
    y = build.dense(wide, weight("output.dense"), layer + "output.dense")
    return build.skip_norm(y, x, bias("output.dense"), tensors, layer + "output.LayerNorm")


class _Builder:
    """Collects nodes and constants. Dense layers are int8 if `peaks`, their largest inputs, are given."""

    def __init__(self, peaks: Mapping[str, Vectors] | None) -> None:
        self._peaks = peaks
        self.dense_inputs: dict[str, str] = {}
        """Tensor that each dense layer reads."""
        self._nodes: list[Any] = []
        self._constants: dict[str, NDArray[Any]] = {}

    def op(self, kind: str, *inputs: str, domain: str = "", outputs: int = 1, **attributes: Any) -> str:
        """Add a node; the names of its outputs, joined by spaces."""
        from onnx import helper

        names = [f"n{len(self._nodes)}.{i}" for i in range(outputs)]
        self._nodes.append(helper.make_node(kind, inputs, names, domain=domain, **attributes))
        return " ".join(names)

    def constant(self, value: NDArray[Any]) -> str:
        """Add a constant; its name."""
        name = f"c{len(self._constants)}"
        self._constants[name] = np.ascontiguousarray(value)
        return name

    def norm(self, x: str, tensors: Mapping[str, Vectors], name: str) -> str:
        affine = (self.constant(tensors[f"{name}.{part}"]) for part in ("weight", "bias"))
        return self.op("LayerNormalization", x, *affine, axis=-1, epsilon=EPSILON)

    def skip_norm(self, y: str, skip: str, bias: str, tensors: Mapping[str, Vectors], name: str) -> str:
        affine = (self.constant(tensors[f"{name}.{part}"]) for part in ("weight", "bias"))
        return self.op("SkipLayerNormalization", y, skip, *affine, bias, domain=FUSED, epsilon=EPSILON)

    def dense(self, x: str, weight: Vectors, name: str) -> str:
        """`x @ weight`, [.., in] to [.., out]. `name` is the layer's, in the checkpoint."""
        self.dense_inputs[name] = x
        if self._peaks is None:
            return self.op("MatMul", x, self.constant(weight))
        after_gelu = name.endswith(".output.dense") and ".attention." not in name
        if not after_gelu:
            smooth = _smoothing(self._peaks[name], weight)
            x, weight = self.op("Mul", x, self.constant(1 / smooth)), weight * smooth[:, None]
        row, step, zero = self._row_scale(x, after_gelu)
        scale = np.maximum(np.abs(weight).max(0), np.float32(1e-9)) / np.float32(63)
        step_name, zero_name = self.constant(step), self.constant(zero)
        x = self.op("QuantizeLinear", self.op("Div", x, row), step_name, zero_name)
        y = self.op(
            "MatMulIntegerToFloat",
            x,
            self.constant(np.rint(weight / scale).astype(np.int8)),
            step_name,
            self.constant(scale),
            zero_name,
            self.constant(np.zeros(weight.shape[1], np.int8)),
            domain=FUSED,
        )
        return self.op("Mul", y, row)

    def _row_scale(self, x: str, after_gelu: bool) -> tuple[str, NDArray[Any], NDArray[Any]]:
        """Each row's scale, then the step and the zero point of rows so scaled."""
        if after_gelu:  # never below -0.17, so rows scaled by 0.68 or more need only [-0.25, 1]
            peak = self.op("ReduceMax", x, axes=[-1], keepdims=1)
            row = self.op("Max", peak, self.constant(np.array([0.68], np.float32)))
            return row, np.array(1.25 / 255, np.float32), np.array(51, np.uint8)
        row = self.op("ReduceMax", self.op("Abs", x), axes=[-1], keepdims=1)
        return row, np.array(1 / 127, np.float32), np.array(128, np.uint8)

    def model(self, outputs: list[str]) -> bytes:
        """The model whose results are `outputs`, serialized."""
        from onnx import TensorProto, helper, numpy_helper

        graph = helper.make_graph(
            self._nodes,
            "all-MiniLM-L6-v2",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", "T", DIM])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            [numpy_helper.from_array(value, name) for name, value in self._constants.items()],
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(FUSED, 1)]
        data: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
        return data


def _smoothing(peak: Vectors, weight: Vectors) -> Vectors:
    """SmoothQuant's per-channel divisor of activations, in quarter octaves.

    Rounding it keeps the graph the same on machines whose floating point differs in the last bit.
    """
    ratio = np.maximum(peak, 1e-5) / np.maximum(np.abs(weight).max(1), 1e-5)
    divisor: Vectors = np.exp2(np.rint(np.log2(ratio) * 2) / 4).astype(np.float32)
    return divisor


def _calibrate(tensors: Mapping[str, Vectors], weights: Path) -> dict[str, Vectors]:
    """Largest absolute input of each dense layer, per channel, over `_SENTENCES`; from the f32 graph."""
    build, _ = _network(tensors, None)
    names, outputs = list(build.dense_inputs), list(build.dense_inputs.values())
    session = _session(build.model(outputs), strict=True)
    pieces, inputs = WordPieces(weights.with_name("tokenizer.json")), Inputs(weights)
    peaks = {name: np.zeros((), np.float32) for name in names}
    for ids in pieces(list(_SENTENCES)):
        for name, x in zip(names, session.run(None, {"x": inputs([ids])}), strict=True):
            peaks[name] = np.maximum(peaks[name], np.abs(x).max((0, 1)))
    return peaks


def _session(model: bytes, strict: bool = False) -> Any:
    """An onnxruntime session, or None for an unreadable model unless `strict`.

    One thread per run: texts run side by side instead, which costs no synchronisation inside them.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception:  # its exception classes share no public base
        if strict:
            raise
        return None


_SENTENCES = (
    "The cat sat on the mat.",
    "ok",
    "Where did she go last summer, and with whom?",
    "I moved to Berlin in 2019 and started working as a nurse at the hospital.",
    "def add(a: int, b: int) -> int: return a + b",
    "La vie est belle, n'est-ce pas? Ja, das finde ich auch.",
    "Quarterly revenue rose 14.2% to $3.1bn, beating analysts' expectations.",
    "Photosynthesis converts light energy into chemical energy stored in glucose.",
    "lol that's hilarious!! see u tmrw :)",
    "The committee, which had met twice before, decided to postpone the vote until the following "
    "Tuesday because two of its members were ill; nobody objected.",
    "Please remember: my flight leaves at 07:45 from gate B12, and the hotel is at 221B Baker Street.",
    "user@example.com https://example.com/a?b=c#d",
)
"""Calibration texts: prose, chat, questions, numbers, code, other languages."""
