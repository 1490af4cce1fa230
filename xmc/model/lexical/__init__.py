"""The lexical half: what single words say of a label, straight and beside the network."""

from xmc.model.lexical.half import CANDIDATES, Level, LexicalHalf, candidates, meta_features, prior
from xmc.model.lexical.terms import Terms

__all__ = ["CANDIDATES", "Level", "LexicalHalf", "Terms", "candidates", "meta_features", "prior"]
