"""Linear rows over a document's own terms: how they are learned, and how the best of them are found. On the CPU."""

from xmc.ops.lexical.dual import Problem, solve
from xmc.ops.lexical.ranking import Postings, best_children, best_rows

__all__ = ["Postings", "Problem", "best_children", "best_rows", "solve"]
