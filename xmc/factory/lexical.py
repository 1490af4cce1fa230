"""The lexical half of a run's model."""

import logging
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from scipy.sparse import csr_matrix, vstack
from torch import Tensor

from xmc import config as c
from xmc.data.batches import Batches
from xmc.data.corpus import Corpus
from xmc.evaluate.metrics import correct, leave_out, ndcg_at_k
from xmc.factory.data import build_batches
from xmc.model import XMCModel
from xmc.model.bag import frequent_bigrams
from xmc.model.encoder import Encoder
from xmc.model.lexical import CANDIDATES, LexicalHalf, Terms, candidates, meta_features
from xmc.train.lexical import LexicalRecipe, learn_lexical_half
from xmc.train.stacking import fitted
from xmc.types import Batch

logger = logging.getLogger(__name__)

_CHUNK = 4096  # documents whose terms are counted at a time
_PAIRS = 20_000  # of documents and labels, by which the use of names is judged
_NAMED = 0.08  # share of them with a word of the label's name, below which names mislead
_FITTED = 10_000  # dev documents, at most, that the coefficients are fitted to
_K = 5


def build_lexical_half(config: c.TrainConfig, encoder: Encoder, corpus: Corpus) -> LexicalHalf | None:
    """The half of a run, learned on the training documents, with coefficients of no dev data; None where it has none.

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


@torch.no_grad()
def stack_(
    model: XMCModel, half: LexicalHalf | None, dev: Batches | None, seed: int, filter: csr_matrix | None = None
) -> None:
    """Put the half into the model, with coefficients that are fitted to dev, or its own where there is no dev.

    Where the nDCG@5 of dev is no better for it, the model stays without it. filter: CSR [N, L], of the dev documents,
    the labels that count as neither true nor false.
    """
    model.lexical = half
    if half is None or dev is None:
        return
    model.eval()
    chosen = np.sort(np.random.default_rng(seed).permutation(len(dev.lengths))[:_FITTED])
    features, hits, rankings, truths, left_out = [], [], [], [], []
    for batch in dev.by_length(among=chosen):
        network = model.network_ranking(model.features_of(batch), CANDIDATES)
        ranking = [network, *half.rank(batch.input_ids, batch.attention_mask, batch.values, CANDIDATES)]
        labels, scores = candidates(ranking)
        counts = half.counts_of(labels)
        rows = batch.rows.numpy()
        counted = counts > 0
        if filter is not None:
            counted &= ~correct(labels, filter[rows])
            left_out.append(filter[rows])
        features.append(torch.from_numpy(meta_features(scores, counts)[:, counted]).T)
        truths.append(dev.labels[rows])
        hits.append(torch.from_numpy(correct(labels, truths[-1])[counted]))
        rankings.append(ranking)
    prior = half.coefficients.double()
    half = replace(half, coefficients=fitted(features, hits, prior).float())
    truth, without = csr_matrix(vstack(truths)), csr_matrix(vstack(left_out)) if left_out else None
    alone = _ndcg([ranking[0].labels for ranking in rankings], truth, without)
    stacks = [half.stack(ranking[0], ranking[1:], CANDIDATES).labels for ranking in rankings]
    stacked = _ndcg(stacks, truth, without)
    logger.info("dev nDCG@%d: %.4f by the network, %.4f with the lexical half", _K, alone, stacked)
    model.lexical = half if stacked > alone else None


def _ndcg(lists: list[Tensor], truth: csr_matrix, filter: csr_matrix | None) -> float:
    labels = torch.cat(lists).numpy()
    if filter is not None:
        labels, kept = leave_out(labels, truth, np.column_stack(filter.nonzero()))
        truth = csr_matrix(kept)
    return float(ndcg_at_k(labels[:, :_K], truth, min(_K, labels.shape[1]))[-1])


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
