"""The lexical half: what single words say of a label, straight and beside the network."""

from xmc.model.lexical.half import CANDIDATES, Level, LexicalHalf
from xmc.model.lexical.postings import Postings
from xmc.model.lexical.stacking import candidates, meta_features, prior
from xmc.model.lexical.terms import Terms

__all__ = ["CANDIDATES", "Level", "LexicalHalf", "Postings", "Terms", "candidates", "meta_features", "prior"]
