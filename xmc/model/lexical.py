"""The lexical half of a model: a tree of linear classifiers, and centroids of labels, over the documents' own terms,
and what stands beside both, the training documents most like one.

The rankings and that of the network are made one by a logistic regression on what they say of a label (stacking,
Wolpert 1992, "Stacked generalization"): how much a ranking is worth depends on how sure it is, how far the label is
behind its best, and how many documents the label has.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.special import logit
from torch import Tensor

from xmc.model.neighbours import Neighbours
from xmc.ops.bag import count_terms, document_idf, tf_idf
from xmc.ops.lexical import Postings, best_children, best_rows
from xmc.types import TopK

FIRST_WORD = 1  # lower ids are padding
CANDIDATES = 50  # of each ranking, at least
BUDGET = 1 << 16  # entries that a document may read to find its centroids
_BEAM = 20  # nodes of a level that are looked into
MIXTURE = np.array([0.5, 0.4, 0.1], np.float32)  # of network, tree and centroids, which come first
_LOWEST = np.float32(1e-4)  # probability that a label has in a ranking without it
_PER_LOG_ODDS, _PER_LOG_COUNT = np.float32(0.2), np.float32(0.2)  # features of like size, for one prior
_PRIOR = np.array(  # the mean of what was fitted to the dev documents of five sets
    [
        *(0.41, 0.71),
        *(-0.22, 0.94, 1.26, -0.33, -0.35, -1.02, -0.87, -0.05, 0.41, 1.18),
        *(0.58, -0.08, -0.15, -0.03, 0.06, 0.45, -0.60, 0.11, 0.12, -1.65),
    ],
    np.float32,
)

Scores = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Terms:
    """Tokens and frequent bigrams of token ids, weighted by (1 + log tf) idf at unit length.

    idf: float32 [V + S], of V tokens and S bigrams; 0 for what is no term. bigrams: int64 [S], as `frequent_bigrams`
    gives them. Sparse features are taken as they are, at unit length.
    """

    idf: Tensor
    bigrams: Tensor

    def __len__(self) -> int:
        return len(self.idf)

    @property
    def vocab_size(self) -> int:
        """V."""
        return len(self.idf) - len(self.bigrams)

    @classmethod
    def learned(
        cls,
        vocab_size: int,
        bigrams: NDArray[np.int64],
        special_ids: Iterable[int],
        documents: Iterable[tuple[Tensor, Tensor]],
    ) -> "Terms":
        """With document frequencies counted in these documents: ids and attention masks, batch by batch.

        special_ids: tokens that are no terms, nor is what no document has.
        """
        terms = cls(torch.ones(vocab_size + len(bigrams)), torch.from_numpy(bigrams))
        batches = ((terms._counts(ids_BT, mask_BT)[1], len(ids_BT)) for ids_BT, mask_BT in documents)
        terms.idf.copy_(document_idf(batches, len(terms)))
        terms.idf[list(special_ids)] = 0
        return terms

    def matrix(self, ids_BT: Tensor, mask_BT: Tensor, values_BT: Tensor | None = None) -> csr_matrix:
        """Rows of unit length, CSR [B, V + S] in float32, sorted. values_BT: as in `Batch`."""
        ids_BT, mask_BT = ids_BT.cpu(), mask_BT.cpu()
        if values_BT is None:
            documents, terms, counts = self._counts(ids_BT, mask_BT)
            values = tf_idf(documents, terms, counts, self.idf, len(ids_BT))
        else:
            documents, places = mask_BT.nonzero().T
            terms, values = ids_BT[documents, places], values_BT.cpu()[documents, places]
            square = torch.zeros(len(ids_BT)).index_add_(0, documents, values**2)
            values = values * square.clamp_min(1e-12).rsqrt()[documents]
        offsets = torch.searchsorted(documents, torch.arange(len(ids_BT) + 1))
        shape = (len(ids_BT), len(self))
        matrix = csr_matrix((values.numpy(), terms.to(torch.int32).numpy(), offsets.numpy()), shape)
        matrix.eliminate_zeros()
        matrix.sort_indices()
        return matrix

    def _counts(self, ids_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return count_terms(ids_BT, mask_BT, self.bigrams, FIRST_WORD, self.vocab_size)


@dataclass(frozen=True, slots=True)
class Level:
    """The nodes below those of the level above, and the classifier of each. bias: float32 [n]."""

    postings: Postings
    bias: Tensor


@dataclass(frozen=True, slots=True)
class LexicalHalf:
    """Two more rankings of the labels, by a document's terms, maybe a third, and what they count beside that of the
    network.

    levels: a tree, from the root down; the probability of a label is that of all nodes on the way to it, as in Parabel
    (Prabhu et al., WWW 2018) and PECOS (Yu et al., JMLR 2022). centroids: the mean of each label's documents, of which
    a document's cosine is its score (Rocchio's classifier); rare labels need them. neighbours: the training documents
    nearest in the network's features, of which each label has its share.

    labels: int64 [M], the label of each row of the last level and of the centroids: those with a training document.
    counts: int64 [M], their documents in training, among which names may be (see `build_lexical_half`).
    coefficients: float32 [F], of the `meta_features` of all rankings. Labels that the half does not know, such as those
    that are added to a model later, have the probability of the network. saw_dev: whether it has learned from the run's
    dev documents too.
    """

    terms: Terms
    labels: Tensor
    counts: Tensor
    levels: Sequence[Level]
    centroids: Postings
    coefficients: Tensor
    saw_dev: bool = False
    neighbours: Neighbours | None = None
    _count_of: NDArray[np.int64] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        count_of = np.zeros(int(self.labels.max()) + 2, np.int64)
        count_of[self.labels.numpy()] = self.counts.numpy()
        object.__setattr__(self, "_count_of", count_of)

    def rank(
        self, features_BD: Tensor, ids_BT: Tensor, mask_BT: Tensor, values_BT: Tensor | None, k: int
    ) -> list[TopK]:
        """The k best labels by the tree, with their probabilities, by the centroids, with their cosines, and by the
        neighbours, where there are such, with their shares.

        On the CPU. Where there are fewer, the tail is 0 and -1. features_BD: the network's.
        """
        documents = self.terms.matrix(ids_BT, mask_BT, values_BT)
        rankings = [self._by_tree(documents, k), self._by_centroid(documents, k)]
        if self.neighbours is not None:
            rankings.append(self.neighbours.rank(features_BD, k))
        return rankings

    def stack(self, network: TopK, others: Sequence[TopK], k: int) -> TopK:
        """The k best by the network's probabilities and the rankings of `rank` together; scores are log-odds, equal
        ones rank by ascending label."""
        labels, scores = candidates([network, *others])
        logits = self.log_odds(scores, self.counts_of(labels))
        logits[labels < 0] = -np.inf
        order = np.argsort(-logits, axis=1, kind="stable")[:, :k]
        best = np.take_along_axis(logits, order, axis=1), np.take_along_axis(labels, order, axis=1)
        return TopK(*map(torch.from_numpy, best))

    def log_odds(self, scores: NDArray[np.float32], counts: NDArray[np.int64]) -> NDArray[np.float32]:
        """What the rankings' scores of a document's candidates, [R, B, C], make together. counts: as `counts_of` has
        them."""
        logits = (self.coefficients.numpy()[:, None, None] * meta_features(scores, counts)).sum(axis=0)
        unknown = counts == 0
        if unknown.any():
            logits[unknown] = logit(np.clip(scores[0, unknown], 1e-30, 1 - 1e-4))
        return logits

    def counts_of(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """The training documents of labels, 0 of those that the half does not know."""
        last = len(self._count_of) - 1
        return self._count_of[np.where((labels < 0) | (labels > last), last, labels)]

    def _by_tree(self, documents: csr_matrix, k: int) -> TopK:
        size = documents.shape[0]
        beam = np.zeros((size, 1), np.int64), np.zeros((size, 1), np.float32)
        for number, level in enumerate(self.levels, start=1):
            most = min(level.postings.num_rows, k if number == len(self.levels) else _BEAM)
            beam = best_children(documents, level.postings, level.bias.numpy(), beam, most)
        rows, scores = beam
        return TopK(torch.from_numpy(np.exp(scores))[:, :k], self._label_of(torch.from_numpy(rows))[:, :k])

    def _by_centroid(self, documents: csr_matrix, k: int) -> TopK:
        rows, cosines = map(torch.from_numpy, best_rows(documents, self.centroids, min(k, len(self.labels)), BUDGET))
        return TopK(cosines.clamp(0, 1), self._label_of(rows))

    def _label_of(self, rows: Tensor) -> Tensor:
        return torch.where(rows < 0, -1, self.labels[rows.clamp_min(0)])


def num_features(rankings: int) -> int:
    """How many `meta_features` there are of so many rankings."""
    return 2 + 2 * (1 + 3 * rankings)


def prior(rankings: int) -> Scores:
    """The coefficients of `meta_features` before any dev document is seen; of rankings beyond the three, 0."""
    ones, of_three = _PRIOR[2:].reshape(2, -1)[:, :1], _PRIOR[2:].reshape(2, -1)[:, 1:].reshape(2, 3, 3)
    of_all = np.pad(of_three, ((0, 0), (0, 0), (0, rankings - 3))).reshape(2, -1)
    return np.concatenate([_PRIOR[:2], np.concatenate([ones, of_all], axis=1).ravel()])


def candidates(rankings: Sequence[TopK]) -> tuple[NDArray[np.int64], Scores]:
    """The labels of all rankings, [B, C], each once and ascending, -1 behind them; and the scores that each ranking
    gives them, [rankings, B, C], 0 where it has not got them."""
    labels = np.concatenate([top.labels.numpy() for top in rankings], axis=1)
    size, width = labels.shape
    order = labels.argsort(axis=1, kind="stable")
    rows = np.arange(size)[:, None]
    ascending = labels[rows, order]
    new = ascending >= 0
    new[:, 1:] &= ascending[:, 1:] != ascending[:, :-1]
    place = np.empty_like(order)
    place[rows, order] = np.where(ascending < 0, width, new.cumsum(axis=1) - 1)  # the last, for none, is cut off
    names = np.full((size, width + 1), -1, np.int64)
    names[rows, place] = labels
    scores, start = np.zeros((len(rankings), size, width + 1), np.float32), 0
    for of_one, top in zip(scores, rankings, strict=True):
        stop = start + top.labels.shape[1]
        of_one[rows, place[:, start:stop]] = top.scores.numpy()
        start = stop
    return names[:, :-1], scores[:, :, :-1]


def meta_features(scores: Scores, counts: NDArray[np.int64]) -> Scores:
    """What the regression knows of each candidate, [`num_features`, B, C].

    The log-odds of a fixed mixture of the rankings come first, and the square of the log of the label's training
    documents; then, as they are and times that log: 1, and of each ranking the log-odds, the probability, and its share
    of the document's largest.

    scores: [R, B, C], from 0 to 1, of network, tree, centroids and maybe others. counts: [B, C], 0 of labels that are
    not of them: none of the others' features depends on these.
    """
    frequency = np.log(np.maximum(counts, 1).astype(np.float32)) * _PER_LOG_COUNT - 1
    rankings = len(scores)
    features = np.empty((num_features(rankings), *counts.shape), np.float32)
    features[0] = _log_odds((MIXTURE[:, None, None] * scores[: len(MIXTURE)]).sum(axis=0))
    features[1] = frequency * frequency
    plain, weighted = np.split(features[2:], 2)
    plain[0] = 1
    log_odds, probabilities, shares = plain[1:].reshape(3, rankings, *counts.shape)
    log_odds[:] = _log_odds(scores) * _PER_LOG_ODDS
    probabilities[:] = scores
    shares[:] = scores / scores.max(axis=2, keepdims=True, where=counts > 0, initial=1e-9)
    np.multiply(plain, frequency, out=weighted)
    return features


def _log_odds(probability: Scores) -> Scores:
    inside = np.clip(probability, 0, 1) * (1 - 2 * _LOWEST) + _LOWEST
    return np.log(inside / (1 - inside))
