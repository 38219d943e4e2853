"""Reasoning over memory: a search that looks things up as it goes, and a solver that learns from its mistakes.

Names load on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnemos.text.prompts.ircot import Sentence
    from mnemos.text.reason.coat import CoAT, Thought
    from mnemos.text.reason.ircot import Chain, IRCoT
    from mnemos.text.reason.notes import ExperienceMemory, Task
    from mnemos.text.reason.olagpt import OlaGPT, Solution
    from mnemos.text.reason.search import Search, Step
    from mnemos.text.reason.tree import Evidence, Node, Tree
    from mnemos.text.reason.vote import Voter

_HOMES = {
    "Chain": "ircot",
    "CoAT": "coat",
    "Evidence": "tree",
    "ExperienceMemory": "notes",
    "IRCoT": "ircot",
    "Node": "tree",
    "OlaGPT": "olagpt",
    "Search": "search",
    "Sentence": "ircot",
    "Solution": "olagpt",
    "Step": "search",
    "Task": "notes",
    "Thought": "coat",
    "Tree": "tree",
    "Voter": "vote",
}

__all__ = [
    "Chain",
    "CoAT",
    "Evidence",
    "ExperienceMemory",
    "IRCoT",
    "Node",
    "OlaGPT",
    "Search",
    "Sentence",
    "Solution",
    "Step",
    "Task",
    "Thought",
    "Tree",
    "Voter",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"mnemos.text.reason.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'mnemos.text.reason' has no attribute {name!r}: there are {', '.join(__all__)}")
