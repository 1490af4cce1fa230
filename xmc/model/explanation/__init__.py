"""Reasons: what each word of a text adds to a label's score."""

from xmc.model.explanation.contribution import Contribution, Explanation
from xmc.model.explanation.explain import explain

__all__ = ["Contribution", "Explanation", "explain"]
