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
from xmc.model.encoder import Encoder
from xmc.model.lexical import CANDIDATES, LexicalHalf, Terms
from xmc.train.lexical import LexicalRecipe, learn_lexical_half
from xmc.types import Batch, TopK

logger = logging.getLogger(__name__)

_CHUNK = 4096  # documents whose terms are counted at a time
_PAIRS = 20_000  # of documents and labels, by which the use of names is judged
_NAMED = 0.08  # share of them with a word of the label's name, below which names mislead
_FITTED = 10_000  # dev documents, at most, that the weights are fitted to


def build_lexical_half(config: c.TrainConfig, encoder: Encoder, corpus: Corpus) -> LexicalHalf | None:
    """The half of a run, learned on the training documents, with weights of no dev data; None where it has none.

    Of the network nothing counts but the tokens that its encoder reads. The names of the labels are documents too where
    documents have the words of their labels' names.
    """
    if isinstance(config.lexical, c.NoLexical):
        return None
    taught = corpus.with_label_texts() if encoder.reads_text else corpus
    batches = build_batches(config, taught, "train", encoder, config.trainer.batch_size)
    own = len(corpus.split("train"))
    section, size = config.lexical, len(encoder.tokenizer)
    bigrams = np.zeros(0, np.int64)
    if encoder.reads_text and section.bigrams:
        bigrams = frequent_bigrams(*batches.flat_tokens(), size, section.bigrams, section.min_documents)
    if encoder.reads_text:
        special = encoder.tokenizer.all_special_ids
        terms = Terms.learned(size, bigrams, special, ((b.input_ids, b.attention_mask) for b in _in_order(batches)))
    else:
        terms = Terms(torch.ones(size), torch.from_numpy(bigrams))
    rows = [terms.matrix(batch.input_ids, batch.attention_mask, batch.values) for batch in _in_order(batches)]
    documents, labels = csr_matrix(vstack(rows)), batches.labels
    if own < documents.shape[0] and (share := _share_with_names(documents, labels, own, config.seed)) < _NAMED:
        logger.info("lexical half: labels' names are left out: %.0f%% of documents have a word of them", 100 * share)
        documents, labels = documents[:own], labels[:own]
    return learn_lexical_half(terms, documents, labels, _recipe(section), config.seed)


def blend_(model: XMCModel, half: LexicalHalf | None, dev: Batches | None, seed: int) -> None:
    """Put the half into the model, with the weights that have the best nDCG@5 on dev, or its own where there is no dev.

    Where it adds nothing, the model stays without it.
    """
    if half is not None and dev is not None:
        half = half.weighted(_fitted_weights(model, half, dev, seed))
    if half is not None:
        logger.info("blend: %.3g network, %.3g tree, %.3g centroids", *half.weights)
    model.lexical = half if half is not None and half.weights[0] < 1 else None


def _share_with_names(documents: csr_matrix, labels: csr_matrix, own: int, seed: int) -> float:
    """Of pairs of a document and one of its labels, the share where it has a term of the label's name.

    documents, labels: of `own` documents and, behind them, of names, each of one label.
    """
    name_of = np.full(labels.shape[1], -1)
    name_of[labels[own:].indices] = np.arange(own, labels.shape[0])
    pairs = labels[:own].tocoo()
    named = np.flatnonzero(name_of[pairs.col] >= 0)
    if not len(named):
        return 0.0
    chosen = np.random.default_rng(seed).permutation(named)[:_PAIRS]
    of_names = documents[name_of[pairs.col[chosen]]]
    common = documents[pairs.row[chosen]].multiply(of_names).sum(axis=1)
    return float(np.count_nonzero(common) / len(chosen))


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
