"""Integrated gradients (Sundararajan et al., ICML 2017) of what is not linear: transformers, and layers behind a bag.

The path goes from a text of padding, with its special tokens and its length, and from a bag without a word. From mask
tokens, which stand for a likely word, stop words get half as much again, and the words that are named count for less.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from xmc.errors import XMCError
from xmc.model.bag import EmbeddingBag
from xmc.model.explanation.ranking import Said
from xmc.model.explanation.tokens import Tokens
from xmc.tokenizer import Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from xmc.model.explanation.network import Hidden
    from xmc.model.model import XMCModel

_STEPS = 32  # of the path
_TOGETHER = 8  # of these


def said(model: "XMCModel", tokens: Tokens, hidden: "Hidden | None", weight_nD: Tensor, bias_n: Tensor) -> Said:
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
