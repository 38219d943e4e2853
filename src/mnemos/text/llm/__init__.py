"""A language model behind one door: chat, shaped replies, budgets, a cache, replay.

Any OpenAI-compatible endpoint will do. Whoever needs a model is given a `LanguageModel`; retries,
counting and keeping happen here and nowhere else.
"""

from __future__ import annotations

from mnemos.text.llm.budget import Budget, BudgetSpent, Usage
from mnemos.text.llm.model import LanguageModel
from mnemos.text.llm.reply import BadReply, Reply

__all__ = ["BadReply", "Budget", "BudgetSpent", "LanguageModel", "Reply", "Usage"]
