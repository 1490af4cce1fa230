"""What the network says of single labels, token by token.

A bag's features are linear in its terms but for layer norm, which divides by the standard deviation of their sum. That
is taken as it is, so that the parts of the terms add up to the features (Ali et al., ICML 2022, arXiv 2202.07304, for
transformers). The gradient of layer norm would take from each part what stretches the sum without turning it; its parts
add up to 0 and rank words alike (docs/explain.md).

What is not linear, transformers and layers behind a bag, is divided by integrated gradients (Sundararajan et al., ICML
2017). The path goes from a text of padding, with its special tokens and its length, and from a bag without a word. From
mask tokens, which stand for a likely word, stop words get half as much again, and the words that are named count for
less.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xmc.errors import XMCError
from xmc.model.bag import NUM_SPECIAL, UNKNOWN, BagModel, EmbeddingBag
from xmc.model.explanation.shares import Said
from xmc.model.explanation.tokens import Occurrences, Tokens
from xmc.model.intermediate import Identity
from xmc.model.sparse_features import SparseFeaturesModel
from xmc.tokenizer import Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from xmc.model.model import XMCModel


_STEPS = 32  # of the path
_TOGETHER = 8  # of these


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
    return _by_gradients(model, tokens, hidden, weight_nD, bias_n)


def _by_gradients(model: "XMCModel", tokens: Tokens, hidden: Hidden | None, weight_nD: Tensor, bias_n: Tensor) -> Said:
    """In logits, by the rows of n labels. Raises XMCError where captum is not installed."""
    backbone = model.encoder.backbone
    inputs: list[Tensor] = []
    baselines: list[Tensor] = []
    if not isinstance(backbone, EmbeddingBag):
        ids, mask, _ = tokens.batch(model.device)
        for into, given in ((inputs, ids), (baselines, _padded(ids, tokens, model.encoder.tokenizer))):
            into.append(backbone.get_input_embeddings()(given))
    if hidden is not None:
        inputs.append((hidden.start + hidden.parts.sum(dim=0))[None])
        baselines.append(hidden.start[None])

    def logits(*given: Tensor) -> Tensor:
        """[S, n]"""
        if isinstance(backbone, EmbeddingBag):
            features = backbone.finish(*given)
        else:
            shape = len(given[0]), -1
            with _embedded_as(backbone, given[0]):
                features = model.encoder.pooled(ids.expand(shape), mask.expand(shape))
            features = torch.cat([features, *given[1:]], dim=1)
        return model.intermediate(features).float() @ weight_nD.T + bias_n

    slopes = _mean_gradients(logits, inputs, baselines, len(bias_n))
    weights = np.zeros((len(tokens.ids), len(bias_n)))
    if not isinstance(backbone, EmbeddingBag):
        weights += ((inputs[0] - baselines[0]) * slopes[0]).sum(dim=2).T.double().cpu().numpy()
    if hidden is not None:
        weights += hidden.by_token(slopes[-1])
    here, empty = (logits(*given)[0].double().cpu().numpy() for given in (inputs, baselines))
    return Said(here, empty, weights)


def _mean_gradients(
    logits: Callable[..., Tensor], inputs: list[Tensor], baselines: list[Tensor], n: int
) -> list[Tensor]:
    """Of each of the n logits along the path, like the inputs [1, ...]: [n, ...] each."""
    try:
        from captum.attr import IntegratedGradients
    except ImportError:
        raise XMCError(
            "explaining a transformer, or a layer behind a bag, needs captum: pip install 'xmc[explain]'"
        ) from None
    method = IntegratedGradients(logits, multiply_by_inputs=False)
    of_labels = [
        method.attribute(tuple(inputs), tuple(baselines), target=label, n_steps=_STEPS, internal_batch_size=_TOGETHER)
        for label in range(n)
    ]
    return [torch.cat(parts) for parts in zip(*of_labels, strict=True)]


def _padded(ids_1T: Tensor, tokens: Tokens, tokenizer: Tokenizer) -> Tensor:
    """The ids with padding in the place of each that stands for a part of the text; it is attended to all the same."""
    special = torch.from_numpy(tokens.spans[:, 0] == tokens.spans[:, 1]).to(ids_1T.device)
    return torch.where(special, ids_1T, tokenizer.pad_id)


@contextmanager
def _embedded_as(backbone: "PreTrainedModel", embeddings: Tensor) -> Iterator[None]:
    """Meanwhile the backbone takes these for the embeddings of its tokens."""
    handle = backbone.get_input_embeddings().register_forward_hook(lambda *_: embeddings)
    try:
        yield
    finally:
        handle.remove()
