"""What the network says of single labels, token by token.

A bag's features are linear in its terms but for layer norm, which divides by the standard deviation of their sum. That
is taken as it is, so that the parts of the terms add up to the features (Ali et al., ICML 2022, arXiv 2202.07304, for
transformers). The gradient of layer norm would take from each part what stretches the sum without turning it; its parts
add up to 0 and rank words alike (docs/explain.md).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xmc.model.bag import NUM_SPECIAL, UNKNOWN, BagModel, EmbeddingBag
from xmc.model.explanation import gradients
from xmc.model.explanation.occurrences import Occurrences
from xmc.model.explanation.ranking import Said
from xmc.model.explanation.tokens import Tokens
from xmc.model.intermediate import Identity
from xmc.model.sparse_features import SparseFeaturesModel

if TYPE_CHECKING:
    from xmc.model.model import XMCModel


@dataclass(frozen=True, slots=True)
class Hidden:
    """What layer norm gives in a bag: start [D], where no word is known, and what each of the terms [U] adds to it."""

    start: Tensor
    parts: Tensor
    terms: NDArray[np.int64]
    occurrences: Occurrences

    @classmethod
    def of(cls, bag: EmbeddingBag, tokens: Tokens) -> Self:
        ids = tokens.ids.numpy()
        ids_1T, mask_1T, values_1T = tokens.batch(bag.table.device)
        if isinstance(bag, BagModel):
            documents, terms, counts = bag.terms(ids_1T, mask_1T)
            values = bag.weigh(documents, terms, counts, 1)
            seen = np.where(ids < bag.config.word_rows, ids, UNKNOWN)
            occurrences = Occurrences.of_words(seen, bag.idf.cpu().numpy(), bag.bigrams.cpu().numpy(), NUM_SPECIAL)
        else:
            assert isinstance(bag, SparseFeaturesModel) and values_1T is not None
            _, terms, values = bag.terms(ids_1T, mask_1T, values_1T)
            occurrences = Occurrences.of_tokens(ids)
        rows = values[:, None] * bag.table[terms]
        rows = rows - rows.mean(dim=1, keepdim=True)
        deviation = (rows.sum(dim=0).square().mean() + bag.norm.eps).sqrt()
        return cls(bag.norm.bias, rows / deviation * bag.norm.weight, terms.cpu().numpy(), occurrences)

    def by_token(self, slopes_nD: Tensor) -> NDArray[np.float64]:
        """What each token adds to the n things that rise by these slopes, [T, n]."""
        return self.occurrences.by_token(self.terms, (slopes_nD @ self.parts.T).double().cpu().numpy())


def said_by_network(model: "XMCModel", tokens: Tokens, labels: NDArray[np.int64]) -> Said:
    """In logits.

    Raises:
        XMCError: the network is not linear, and captum, which goes along its gradients, is not installed.
    """
    encoder = model.encoder
    weight_nD, bias_n = model.classifier.rows(torch.from_numpy(labels).to(model.device))
    bag = encoder.backbone if isinstance(encoder.backbone, EmbeddingBag) else encoder.lexical
    hidden = None if bag is None else Hidden.of(bag, tokens)
    more = (isinstance(bag, BagModel) and bag.mlp is not None) or not isinstance(model.intermediate, Identity)
    if hidden is not None and bag is encoder.backbone and not more:
        weights = hidden.by_token(weight_nD)
        empty = (weight_nD @ hidden.start + bias_n).double().cpu().numpy()
        return Said(empty + weights.sum(axis=0), empty, weights)
    return gradients.said(model, tokens, hidden, weight_nD, bias_n)
