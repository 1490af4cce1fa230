"""The lexical half, stacked on the network."""

import logging
from dataclasses import replace

import numpy as np
import torch
from scipy.sparse import csr_matrix, vstack
from torch import Tensor

from xmc.data.batches import Batches
from xmc.evaluate.metrics import correct, leave_out, ndcg_at_k
from xmc.model import XMCModel
from xmc.model.lexical import CANDIDATES, LexicalHalf, candidates, meta_features
from xmc.train.stacking import fitted

logger = logging.getLogger(__name__)

_FITTED = 10_000  # dev documents, at most, that the coefficients are fitted to
_K = 5


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
