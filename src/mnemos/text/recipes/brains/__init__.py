"""BRAINS: memory of past cases over tabular profiles; a new case is decided by those most like it.

Source: BRAINS: A Retrieval-Augmented System for Alzheimer's Detection and Monitoring (2025). Four choices: structure
= a base of cases (profile, outcome, subject, source); objective = cosine in a space of profiles; retention = curated,
withdrawn cases disappear everywhere; rule = encode and add, while encoder and fusion are trained offline.

Not a medical device: for research on decision support.

`memory` holds the cases, `schema` says what they look like, `space` makes vectors of them, `decide` makes decisions;
the trained fusion layer is `mnemos.learn.case_fusion`.
"""

from __future__ import annotations

from mnemos.text.recipes.brains.decide import NOTICE, Case, Decision, Evidence, Fusion, Neighbour, Stacking, Visit, vote
from mnemos.text.recipes.brains.memory import CaseMemory
from mnemos.text.recipes.brains.schema import Categorical, Numeric, Product, Schema

__all__ = [
    "NOTICE", "Case", "CaseMemory", "Categorical", "Decision", "Evidence", "Fusion", "Neighbour", "Numeric", "Product",
    "Schema", "Stacking", "Visit", "vote",
]  # fmt: skip
