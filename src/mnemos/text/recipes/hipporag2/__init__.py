"""HippoRAG 2: a graph of phrases and passages, searched by Personalized PageRank from recognised facts."""

from __future__ import annotations

from mnemos.text.recipes.hipporag2.recipe import HippoRAG2, Options, load_openie

__all__ = ["HippoRAG2", "Options", "load_openie"]
