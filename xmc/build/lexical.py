"""The lexical half of a run's model."""

import logging
from collections.abc import Iterator

import numpy as np
import torch
from scipy.sparse import csr_matrix, vstack
from torch import Tensor

from xmc import config as c
from xmc.build.data import build_batches
from xmc.data import Batches, Corpus
from xmc.evaluate.blending import fit_weights
from xmc.model import XMCModel
from xmc.model.bag import frequent_bigrams
from xmc.model.lexical import CANDIDATES, LexicalHalf, Terms
from xmc.train.lexical import LexicalRecipe, learn_lexical_half
from xmc.types import Batch, TopK

logger = logging.getLogger(__name__)

_CHUNK = 4096  # documents whose terms are counted at a time
_FITTED = 10_000  # dev documents, at most, that the weights are fitted to


def learn_lexical_half_(config: c.TrainConfig, model: XMCModel, corpus: Corpus, dev: Batches | None) -> None:
    """Learn the half on the training documents and the names of the labels, and put it into the model.

    Its weights are those with the best nDCG@5 on dev, or fixed ones where there is no dev. Where it adds nothing, the
    model stays without it.
    """
    if isinstance(config.lexical, c.NoLexical):
        return
    taught = corpus.with_label_texts() if model.encoder.reads_text else corpus
    batches = build_batches(config, taught, "train", model.encoder, config.trainer.batch_size)
    section, size = config.lexical, len(model.encoder.tokenizer)
    reads_text = model.encoder.reads_text
    bigrams = np.zeros(0, np.int64)
    if reads_text and section.bigrams:
        bigrams = frequent_bigrams(*batches.flat_tokens(), size, section.bigrams, section.min_documents)
    if reads_text:
        special = model.encoder.tokenizer.all_special_ids
        terms = Terms.learned(size, bigrams, special, ((b.input_ids, b.attention_mask) for b in _in_order(batches)))
    else:
        terms = Terms(torch.ones(size), torch.from_numpy(bigrams))
    rows = [terms.matrix(batch.input_ids, batch.attention_mask, batch.values) for batch in _in_order(batches)]
    half = learn_lexical_half(terms, csr_matrix(vstack(rows)), batches.labels, _recipe(section), config.seed)
    if dev is not None:
        half = half.weighted(_fitted_weights(model, half, dev, config.seed))
    logger.info("blend: %.3g network, %.3g tree, %.3g centroids", *half.weights)
    model.lexical = half if half.weights[0] < 1 else None


def _recipe(section: c.TreeLexical) -> LexicalRecipe:
    return LexicalRecipe(
        centroid_terms=section.centroid_terms,
        leaf_size=section.leaf_size,
        start=section.start,
        cost=section.cost,
        passes=section.passes,
        threshold=section.threshold,
    )


def _in_order(batches: Batches) -> Iterator[Batch]:
    for start in range(0, len(batches.lengths), _CHUNK):
        yield batches.batch(np.arange(start, min(start + _CHUNK, len(batches.lengths))))


@torch.no_grad()
def _fitted_weights(model: XMCModel, half: LexicalHalf, dev: Batches, seed: int) -> tuple[float, float, float]:
    """Those of network, tree and centroids with the best nDCG@5."""
    model.eval()
    chosen = np.sort(np.random.default_rng(seed).permutation(len(dev.lengths))[:_FITTED])
    lists: list[list[TopK]] = []
    rows = []
    for batch in dev.by_length(among=chosen):
        inputs: tuple[Tensor, Tensor, Tensor | None] = (batch.input_ids, batch.attention_mask, batch.values)
        moved = batch.to(model.device)
        features_BD = model.features(moved.input_ids, moved.attention_mask, moved.values)
        lists.append([model.network_ranking(features_BD, CANDIDATES), *half.rank(*inputs, CANDIDATES)])
        rows.append(batch.rows.numpy())
    rankings = [TopK.cat(list(of_one)) for of_one in zip(*lists, strict=True)]
    pairs = [(top.labels.numpy(), top.scores.numpy()) for top in rankings]
    network, tree, centroids = fit_weights(pairs, csr_matrix(dev.labels[np.concatenate(rows)]))
    return network, tree, centroids
