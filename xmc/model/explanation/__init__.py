"""Reasons: what each word of a text adds to a label's score."""

from xmc.model.explanation.explain import Contribution, Explanation, explain

__all__ = ["Contribution", "Explanation", "explain"]
