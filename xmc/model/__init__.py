"""The network: encoder, intermediate layer, classifier, auxiliary head, and their composition."""

from xmc.model.blend import DEPTH, Blend, Member, NearestDocuments, ScoreFiles
from xmc.model.explanation import Contribution, Explanation
from xmc.model.model import XMCModel
from xmc.model.neighbours import Neighbours
from xmc.model.prediction import Prediction, Threshold

__all__ = [
    "DEPTH",
    "Blend",
    "Contribution",
    "Explanation",
    "Member",
    "NearestDocuments",
    "Neighbours",
    "Prediction",
    "ScoreFiles",
    "Threshold",
    "XMCModel",
]
