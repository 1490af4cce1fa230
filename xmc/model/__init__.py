"""The network: encoder, intermediate layer, classifier, auxiliary head, and their composition."""

from xmc.model.model import Prediction, Threshold, XMCModel

__all__ = ["Prediction", "Threshold", "XMCModel"]
