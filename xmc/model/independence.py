"""Whether the documents of a batch have anything to do with one another."""

from xmc.model.bag import BagModel, EmbeddingBag
from xmc.model.blend import Blend
from xmc.model.classifier import FixedFanIn
from xmc.model.intermediate import Identity
from xmc.model.model import XMCModel


def independent(model: XMCModel | Blend) -> bool:
    """Whether a document's scores are the same bits whatever stands beside it in a batch.

    Our own kernels on the CPU see to that. Products of dense matrices are rounded by their shape, and a transformer
    pads a batch to its longest document.
    """
    if isinstance(model, Blend):
        return all(isinstance(member.ranker, XMCModel) and independent(member.ranker) for member in model.members)
    backbone, classifier = model.encoder.backbone, model.classifier
    return (
        isinstance(backbone, EmbeddingBag)
        and not (isinstance(backbone, BagModel) and backbone.mlp is not None)
        and isinstance(model.intermediate, Identity)
        and isinstance(classifier, FixedFanIn)
        and classifier.serving == "numba"
    )
