"""The network: encoder, intermediate layer, classifier, auxiliary head, and their composition."""

from xmc.model.blend import DEPTH, Blend, Member, NearestDocuments, ScoreFiles
from xmc.model.model import Prediction, Threshold, XMCModel
from xmc.model.neighbours import Neighbours

__all__ = [
    "DEPTH",
    "Blend",
    "Member",
    "NearestDocuments",
    "Neighbours",
    "Prediction",
    "ScoreFiles",
    "Threshold",
    "XMCModel",
]
