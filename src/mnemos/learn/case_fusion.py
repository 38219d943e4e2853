"""The case fusion layer of BRAINS: a new case reads the outcomes of similar ones by cross-attention.

Source: BRAINS (2025), case fusion layer. a_j = softmax_j(<W_q h, W_k z_j> / sqrt d), c = sum_j a_j W_v [z_j; u(y_j)],
g = sigmoid(W_g [h; c]), h' = h + g * c; the outcome's embedding u and the gate are our choice. Not a medical device.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from mnemos.core.errors import InvalidInput
from mnemos.text.recipes.brains.decide import Evidence
from mnemos.text.recipes.brains.memory import HeldOut


class CaseFusion(nn.Module):
    """A classifier of profiles that reads similar cases.

    Without cases it is its own base model: head(encoder(x)).

    Args:
        inputs: numbers of a profile, d.
        classes: outcomes.
        width: of every layer.
        seed: of the initial weights.

    Raises:
        InvalidInput: a size below 1.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, inputs: int, classes: int, width: int = 24, seed: int = 0) -> None:
        super().__init__()
        if min(inputs, classes, width) < 1:
            raise InvalidInput(f"inputs {inputs}, classes {classes}, width {width}: all at least 1")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoder = nn.Sequential(nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh())
            self.query = nn.Linear(width, width, bias=False)
            self.key = nn.Linear(width, width, bias=False)
            self.outcome = nn.Embedding(classes, width)
            self.value = nn.Linear(2 * width, width, bias=False)
            self.gate = nn.Linear(2 * width, width)
            self.head = nn.Linear(width, classes)
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("deviation", torch.ones(inputs))

    def forward(self, x: Tensor, cases: Tensor, outcomes: Tensor, there: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(logits [B, classes], attention [B, K]).

        Args:
            x: [B, d] profiles in the deviations of the training site.
            cases: [B, K, d] likewise; K may be 0.
            outcomes: [B, K] int64.
            there: [B, K] False for padding; all are there if None.
        """
        h, z = self.encoder(x), self.encoder(cases)
        scores = torch.einsum("bw,bkw->bk", self.query(h), self.key(z)) / h.shape[-1] ** 0.5
        if there is not None:
            scores = scores.masked_fill(~there, -torch.inf)
        attention = scores.softmax(-1)
        if there is not None:
            attention = attention.masked_fill(~there, 0.0)  # of a row without any case, softmax makes NaN
        read = torch.einsum("bk,bkw->bw", attention, self.value(torch.cat([z, self.outcome(outcomes)], -1)))
        gate = torch.sigmoid(self.gate(torch.cat([h, read], -1)))
        return self.head(h + gate * read), attention

    @torch.no_grad()
    def decide(self, evidence: Evidence) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """([classes] probabilities, [K] attention): what `CaseMemory.predict(..., fuse=model.decide)` takes."""
        x, cases = (self._scaled(rows) for rows in (evidence.query, evidence.cases))
        logits, attention = self(x[None], cases[None], torch.from_numpy(evidence.outcomes)[None])
        return logits[0].double().softmax(-1).numpy(), attention[0].double().numpy()

    def _scaled(self, rows: NDArray[np.float64]) -> Tensor:
        return (torch.from_numpy(rows).to(self.mean.dtype) - self.mean) / self.deviation


def train_fusion(
    some: HeldOut, classes: int, *, episodic: bool = True, steps: int = 150, lr: float = 3e-3, seed: int = 0
) -> CaseFusion:
    """A fusion layer trained on cases and their neighbours of other subjects, all of them in each step.

    Args:
        some: `CaseMemory.held_out()`.
        classes: outcomes of the schema.
        episodic: shift everything by one random offset N(0, 1) per step, query and cases alike, so that outcomes have
            to be read from the cases. Trained without, the layer misreads the cases of another site.
        steps: of Adam.

    Raises:
        InvalidInput: steps below 1.
    """
    if steps < 1:
        raise InvalidInput(f"steps is {steps}: give at least 1")
    model = CaseFusion(some.rows.shape[1], classes, seed=seed)
    model.mean.copy_(torch.from_numpy(some.scale.mean))
    model.deviation.copy_(torch.from_numpy(some.scale.deviation))
    rows = model._scaled(some.rows)
    moves = rows.std(0) > 0  # what never varies stays
    y, near, chosen = (torch.from_numpy(one) for one in (some.outcomes, some.nearest, some.chosen))
    adam, draw = torch.optim.Adam(model.parameters(), lr), torch.Generator().manual_seed(seed)
    for _ in range(steps):
        offset = torch.randn(rows.shape[1], generator=draw) * moves * episodic
        logits, _ = model(rows[chosen] + offset, rows[near] + offset, y[near])
        loss = F.cross_entropy(logits, y[chosen])
        adam.zero_grad()
        loss.backward()
        adam.step()
    return model.eval()
