"""Under `torch.compile` operators are called, not unrolled: the same numbers, and graphs that do not grow with time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mnemos.core.errors import InvalidInput
from mnemos.models import MnemosConfig, MnemosForCausalLM
from mnemos.state.mixers.registry import make_mixer
from mnemos.state.ops.linear_attention import linear_attention

# torch looks at gradients that it then warns of looking at
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")

MIXERS = ("titans-lmm", "omeganet", "gated-deltanet", "gla", "swa")


@pytest.fixture(autouse=True)
def _from_nothing() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def step(layer: nn.Module, run: Any, x: Tensor) -> list[Tensor]:
    """y, and the gradients of x and of every parameter."""
    x = x.clone().requires_grad_()
    y, _ = run(x)
    weights = [p for p in layer.parameters() if p.requires_grad]
    grads = torch.autograd.grad(y.square().sum(), [x, *weights], allow_unused=True)
    return [y.detach(), *(g for g in grads if g is not None)]


@pytest.mark.parametrize("name", MIXERS)
def test_a_compiled_layer_gives_the_same_output_and_gradients(name: str) -> None:
    torch.manual_seed(0)
    layer = make_mixer(name, 16, 2).double()
    x = torch.randn(2, 70, 16, dtype=torch.float64)
    plain = step(layer, layer, x)
    compiled = step(layer, torch.compile(layer, backend="aot_eager"), x)
    assert len(plain) == len(compiled)
    for one, other in zip(plain, compiled, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", MIXERS)
def test_graphs_of_a_compiled_layer_do_not_grow_with_the_sequence(name: str) -> None:
    torch.manual_seed(0)
    layer, sizes = make_mixer(name, 16, 2), dict[int, int]()
    for tokens in (128, 512):
        nodes = []

        def count(graph: torch.fx.GraphModule, _: Any, nodes: list[int] = nodes) -> Any:
            nodes.append(len(graph.graph.nodes))
            return graph.forward

        torch.compiler.reset()
        torch.compile(layer, backend=count, dynamic=False)(torch.randn(1, tokens, 16))
        sizes[tokens] = sum(nodes)
    assert 0 < sizes[512] <= sizes[128]


def test_a_compiled_language_model_gives_the_same_loss_and_gradients() -> None:
    torch.manual_seed(0)
    config = MnemosConfig(vocab_size=16, hidden_size=16, num_hidden_layers=2, num_heads=2, mixer="gated-deltanet,swa")
    model = MnemosForCausalLM(config).double()
    ids = torch.randint(0, 16, (2, 70))
    found = []
    for run in (model, torch.compile(model, backend="aot_eager")):
        loss = run(input_ids=ids, labels=ids).loss
        found.append([loss, *torch.autograd.grad(loss, list(model.parameters()))])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-9, atol=1e-12)


def test_compiled_code_still_refuses_a_decay_that_grows() -> None:
    @torch.compile(backend="eager")
    def run(q: Tensor, g: Tensor) -> Tensor:
        return linear_attention(q * 2, q, q, g)[0]

    q = torch.randn(1, 8, 2, 4)
    with pytest.raises(InvalidInput, match="at most 0"):
        run(q, torch.ones(1, 8, 2))
