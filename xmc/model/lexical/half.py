"""The lexical half of a model: a tree of linear classifiers, and centroids of labels, over the documents' own terms,
and what stands beside both, the training documents most like one."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from scipy.sparse import csr_matrix
from scipy.special import logit
from torch import Tensor

from xmc.errors import XMCError
from xmc.model.card import ApartCard, LexicalCard, read_part
from xmc.model.lexical.postings import Postings
from xmc.model.lexical.stacking import candidates, meta_features, num_features
from xmc.model.lexical.terms import Terms
from xmc.model.neighbours import Neighbours
from xmc.model.tensor_file import ANEW, TensorFile
from xmc.ops.lexical import best_children, best_rows
from xmc.types import TopK

CANDIDATES = 50  # of each ranking, at least
_BEAM = 20  # nodes of a level that are looked into
_CARD, _TENSORS = "card.json", "lexical.safetensors"  # of a half apart from its model
_NEIGHBOURS = "neighbours."  # before the names of their tensors
BUDGET = 1 << 16  # entries that a document may read to find its centroids


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

    def card(self) -> dict[str, object]:
        """What the model's card says of it."""
        nearest = 0 if self.neighbours is None else self.neighbours.nearest
        return {"levels": len(self.levels), "saw_dev": self.saw_dev, "nearest": nearest}

    def save(self, path: Path) -> None:
        """Write the tensors."""
        tensors = {"terms.idf": self.terms.idf, "terms.bigrams": self.terms.bigrams, "labels": self.labels}
        tensors |= {"counts": self.counts, "coefficients": self.coefficients}
        parts = {f"levels.{number}": level.postings for number, level in enumerate(self.levels)}
        parts["centroids"] = self.centroids
        tensors |= {f"levels.{number}.bias": level.bias for number, level in enumerate(self.levels)}
        tensors |= {f"{part}.{name}": tensor for part, of in parts.items() for name, tensor in of.tensors().items()}
        if self.neighbours is not None:
            tensors |= {_NEIGHBOURS + name: tensor for name, tensor in self.neighbours.tensors().items()}
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)

    @classmethod
    def load(cls, path: Path, card: LexicalCard, vocab_size: int, num_labels: int, width: int) -> Self:
        """What `save` wrote. vocab_size: ids of the model's tokenizer. width: of its features.

        Raises:
            XMCError: the tensors do not belong together.
        """
        file = TensorFile(path)
        terms = Terms(_owned(file, "terms.idf", torch.float32), _owned(file, "terms.bigrams", torch.int64))
        labels = _owned(file, "labels", torch.int64)
        if terms.vocab_size != vocab_size or not terms.idf.isfinite().all():
            raise XMCError(f"{path}: terms.idf is of {terms.vocab_size} tokens, the tokenizer has {vocab_size}; {ANEW}")
        if (
            not len(labels)
            or not bool(((labels >= 0) & (labels < num_labels)).all())
            or len(labels.unique()) < len(labels)
        ):
            raise XMCError(f"{path}: labels are no different ones of {num_labels}; {ANEW}")
        counts = _owned(file, "counts", torch.int64)
        coefficients = _owned(file, "coefficients", torch.float32)
        if len(counts) != len(labels) or not bool((counts > 0).all()):
            raise XMCError(f"{path}: counts is not one positive number a label; {ANEW}")
        neighbours = Neighbours.load(file, card.nearest, width, num_labels, _NEIGHBOURS) if card.nearest else None
        expected = num_features(3 if neighbours is None else 4)
        if len(coefficients) != expected or not coefficients.isfinite().all():
            raise XMCError(f"{path}: coefficients is not {expected} finite numbers; {ANEW}")
        above, levels = 1, []
        for number in range(card.levels):
            bias = _owned(file, f"levels.{number}.bias", torch.float32)
            if (number == card.levels - 1 and len(bias) != len(labels)) or not bias.isfinite().all():
                raise XMCError(f"{path}: levels.{number}.bias is not one finite number a label; {ANEW}")
            levels.append(Level(_postings(file, f"levels.{number}", above, len(bias), len(terms)), bias))
            above = len(bias)
        centroids = _postings(file, "centroids", 1, len(labels), len(terms))
        return cls(terms, labels, counts, levels, centroids, coefficients, card.saw_dev, neighbours)

    def save_apart(self, folder: Path) -> None:
        """Write what `load_apart` reads, in a folder that is there."""
        self.save(folder / _TENSORS)
        (folder / _CARD).write_text(json.dumps(self.card() | {"vocab_size": self.terms.vocab_size}))

    @classmethod
    def load_apart(cls, folder: Path, num_labels: int, width: int = 0) -> Self:
        """A half without its model, whose features are of that width; 0: it has no neighbours among them.

        Raises XMCError where it is not whole.
        """
        card = read_part(folder / _CARD, ApartCard)
        return cls.load(folder / _TENSORS, card, card.vocab_size, num_labels, width)


def _owned(file: TensorFile, name: str, dtype: torch.dtype) -> Tensor:
    tensor = file.required(name)
    if tensor.dtype != dtype or tensor.dim() != 1:
        raise XMCError(f"{file.path}: {name} is {tensor.dtype} {[*tensor.shape]}, expected {dtype} [any]; {ANEW}")
    return tensor.clone()


def _postings(file: TensorFile, name: str, num_nodes: int, num_rows: int, num_terms: int) -> Postings:
    names = [field.name for field in fields(Postings)]
    postings = Postings.from_tensors({field: file.required(f"{name}.{field}").clone() for field in names})
    if (fault := postings.fault(num_nodes, num_rows, num_terms)) is not None:
        raise XMCError(f"{file.path}: {name} {fault}; {ANEW}")
    return postings
