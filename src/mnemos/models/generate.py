"""Tokens one at a time, as they come. `model.generate` does batches and beams; this is for a person who watches."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import torch
from torch import Tensor

from mnemos.core.errors import InvalidInput
from mnemos.models.lm import MnemosForCausalLM


def stream(
    model: MnemosForCausalLM,
    prompt: Sequence[int],
    max_new_tokens: int = 200,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    stop: Collection[int] = (),
    seed: int = 0,
) -> Iterator[int]:
    """Continue `prompt`, one token per step of the iterator.

    Each costs one token through the model, whatever went before, unless a mixer's state grows (attention).

    Args:
        prompt: token ids, at least one.
        temperature: 0 takes the likeliest token; below 1 sharpens, above 1 flattens.
        top_k: only the k likeliest; 0 for all.
        top_p: only the likeliest that hold this share of the probability.
        stop: ends before one of these tokens.
        seed: same seed, same text; the global random state is left alone.

    Raises:
        InvalidInput: an empty prompt, or a setting out of range.
    """
    if not prompt:
        raise InvalidInput("the prompt holds no tokens: give at least one")
    for name, value, good in (
        ("max_new_tokens", max_new_tokens, max_new_tokens >= 1),
        ("temperature", temperature, temperature >= 0),
        ("top_k", top_k, top_k >= 0),
        ("top_p", top_p, 0 < top_p <= 1),
    ):
        if not good:
            raise InvalidInput(f"{name} {value} is out of range")
    return _stream(model, list(prompt), max_new_tokens, temperature, top_k, top_p, stop, seed)


def _stream(
    model: MnemosForCausalLM,
    prompt: list[int],
    max_new_tokens: int,
    temperature: float,
    top_k: int,
    top_p: float,
    stop: Collection[int],
    seed: int,
) -> Iterator[int]:
    device = model.device
    dice = torch.Generator(device).manual_seed(seed)
    ids, cache, trained = torch.tensor([prompt], device=device), None, model.training
    model.eval()
    try:
        for _ in range(max_new_tokens):
            with torch.no_grad():
                out = model(ids, cache=cache, use_cache=True, logits_to_keep=1)
            cache = out.cache
            ids = _choose(out.logits[:, -1].float(), temperature, top_k, top_p, dice)
            token = int(ids)
            if token in stop:
                return
            yield token
    finally:
        model.train(trained)


def _choose(logits: Tensor, temperature: float, top_k: int, top_p: float, dice: torch.Generator) -> Tensor:
    """logits [1, V] to a token [1, 1]."""
    if temperature == 0:
        return logits.argmax(-1, keepdim=True)
    order = logits.argsort(-1, descending=True)
    share = (logits.gather(-1, order) / temperature).softmax(-1)
    if top_k:
        share[:, top_k:] = 0
    # what stands before a token must not yet hold top_p: so the likeliest one always stays
    share[share.cumsum(-1) - share >= top_p] = 0
    return order.gather(-1, torch.multinomial(share, 1, generator=dice))


__all__ = ["stream"]
