"""Mem-alpha: a policy that was trained, not prompted, decides what to write into a core, semantic and episodic memory.

Source: Mem-alpha: Learning Memory Construction via Reinforcement Learning (2025). Four choices: structure = one core
text, semantic and episodic entries; objective = answers of a frozen reader over the finished memory; retention =
explicit update and delete, with a reward for compression; rule = calls of tools by a policy trained with GRPO.

`store` holds the memory and its tools, `policy` who calls them (rules, the trained network; `model`: a language
model), `rewards` what they are paid for, `recipe` the wiring for `Memory`.
"""

from __future__ import annotations

from mnemos.text.recipes.mem_alpha.model import LLMPolicy
from mnemos.text.recipes.mem_alpha.policy import Decision, MemoryPolicy, MLPPolicy, RulePolicy
from mnemos.text.recipes.mem_alpha.recipe import MemAlpha
from mnemos.text.recipes.mem_alpha.statements import Chunk, Part
from mnemos.text.recipes.mem_alpha.store import CoreSemanticEpisodicMemory, Outcome, ToolCall, tool_schemas

__all__ = [
    "Chunk", "CoreSemanticEpisodicMemory", "Decision", "LLMPolicy", "MLPPolicy", "MemAlpha", "MemoryPolicy", "Outcome",
    "Part", "RulePolicy", "ToolCall", "tool_schemas",
]  # fmt: skip
