"""One graph for every memory that associates: nodes by name, edges by kind and source, PageRank from seeds."""

from mnemos.text.graph.graph import Graph, Name
from mnemos.text.graph.ppr import power, push

__all__ = ["Graph", "Name", "power", "push"]
