"""The lexical half, stacked on the network: the documents near in its features, and what each ranking counts for."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.sparse import csr_matrix, vstack
from torch import Tensor

from xmc import factory
from xmc.config import TrainConfig
from xmc.data.batches import Batches
from xmc.data.corpus import Corpus
from xmc.evaluate.metrics import correct, leave_out, ndcg_at_k
from xmc.model import Neighbours, XMCModel
from xmc.model.lexical import CANDIDATES, LexicalHalf, candidates, meta_features, prior
from xmc.model.neighbours import WIDTH, principal_directions, seen_from
from xmc.train.stacking import fitted
from xmc.types import Batch, TopK

logger = logging.getLogger(__name__)

_VOTERS = 100_000  # training documents that may vote, drawn by chance where there are more
_SAMPLE = 4096  # of these, in which the directions are found
_FITTED = 10_000  # dev documents, at most, that the coefficients are fitted to
_K = 5
_PAYS = 0.001  # of nDCG@5: what neighbours must gain


def with_neighbours(half: LexicalHalf, model: XMCModel, corpus: Corpus, config: TrainConfig) -> LexicalHalf:
    """The half with the training documents of a corpus, where the run wants them to vote."""
    if not (nearest := config.lexical.voters):
        return half
    batches = factory.build_batches(config, corpus, "train", model.encoder, factory.dev_batch_size(config))
    return replace(half, neighbours=nearest_documents(model, batches, nearest, config.seed))


@torch.no_grad()
def nearest_documents(model: XMCModel, batches: Batches, nearest: int, seed: int) -> Neighbours:
    """The documents of these batches in the features of a model, to be searched for the nearest."""
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(len(batches.lengths))[:_VOTERS])
    sample = np.sort(rng.permutation(chosen)[:_SAMPLE])
    with model.evaluating():
        drawn = [model.features_of(batch).float().cpu() for batch in batches.by_length(among=sample)]
        directions = principal_directions(torch.cat(drawn), WIDTH, seed)
        features_Nd = torch.empty(len(chosen), directions.shape[1], dtype=torch.float16)
        for batch in batches.by_length(among=chosen):
            places = torch.from_numpy(np.searchsorted(chosen, batch.rows.numpy()))
            features_Nd[places] = seen_from(directions, model.features_of(batch)).half()
    return Neighbours.of(directions, features_Nd, csr_matrix(batches.labels[chosen]), nearest)


@torch.no_grad()
def stack_(
    model: XMCModel, half: LexicalHalf | None, dev: Batches | None, seed: int, filter: csr_matrix | None = None
) -> None:
    """Put the half into the model, with coefficients that are fitted to dev, or its own where there is no dev.

    Where the nDCG@5 of dev is no better for it, the model stays without it, and likewise the half without its
    neighbours, which take time at each prediction. filter: CSR [N, L], of the dev documents, the labels that count as
    neither true nor false.
    """
    model.lexical = half
    if half is None or dev is None:
        return
    model.eval()
    chosen = np.sort(np.random.default_rng(seed).permutation(len(dev.lengths))[:_FITTED])
    ranked = [_ranked(model, half, batch, dev.labels, filter) for batch in dev.by_length(among=chosen)]
    alone = _ndcg([documents.rankings[0].labels for documents in ranked], ranked)
    model.lexical, stacked = _fitted(replace(half, neighbours=None), ranked)
    told = f"{alone:.4f} by the network, {stacked:.4f} with the lexical half"
    if half.neighbours is not None:
        with_neighbours, score = _fitted(half, ranked)
        told += f", {score:.4f} with neighbours in it"
        if score >= stacked + _PAYS:
            model.lexical, stacked = with_neighbours, score
    logger.info("dev nDCG@%d: %s", _K, told)
    if stacked <= alone:
        model.lexical = None


@dataclass(frozen=True, slots=True)
class _Ranked:
    """Some dev documents: the rankings of each, its true labels, and those left out, CSR [B, L]."""

    rankings: list[TopK]
    truth: csr_matrix
    left_out: csr_matrix | None


def _ranked(model: XMCModel, half: LexicalHalf, batch: Batch, truth: csr_matrix, filter: csr_matrix | None) -> _Ranked:
    features_BD, rows = model.features_of(batch), batch.rows.numpy()
    others = half.rank(features_BD, batch.input_ids, batch.attention_mask, batch.values, CANDIDATES)
    rankings = [model.network_ranking(features_BD, CANDIDATES), *others]
    return _Ranked(rankings, truth[rows], None if filter is None else filter[rows])


def _fitted(half: LexicalHalf, ranked: Sequence[_Ranked]) -> tuple[LexicalHalf, float]:
    """The half with fitted coefficients, and its nDCG@5. ranked: by its rankings and maybe others behind them."""
    size = 3 if half.neighbours is None else 4
    features, hits = [], []
    for documents in ranked:
        labels, scores = candidates(documents.rankings[:size])
        counts = half.counts_of(labels)
        counted = counts > 0
        if documents.left_out is not None:
            counted &= ~correct(labels, documents.left_out)
        features.append(torch.from_numpy(meta_features(scores, counts)[:, counted]).T)
        hits.append(torch.from_numpy(correct(labels, documents.truth)[counted]))
    half = replace(half, coefficients=fitted(features, hits, torch.from_numpy(prior(size)).double()).float())
    stacks = [half.stack(of.rankings[0], of.rankings[1:size], CANDIDATES).labels for of in ranked]
    return half, _ndcg(stacks, ranked)


def _ndcg(lists: list[Tensor], ranked: Sequence[_Ranked]) -> float:
    labels, truth = torch.cat(lists).numpy(), csr_matrix(vstack([documents.truth for documents in ranked]))
    if left_out := [documents.left_out for documents in ranked if documents.left_out is not None]:
        labels, kept = leave_out(labels, truth, np.column_stack(csr_matrix(vstack(left_out)).nonzero()))
        truth = csr_matrix(kept)
    return float(ndcg_at_k(labels[:, :_K], truth, min(_K, labels.shape[1]))[-1])
