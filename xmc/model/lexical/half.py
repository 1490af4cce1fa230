"""The lexical half of a model: a tree of linear classifiers, and centroids of labels, over the documents' own terms."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from safetensors.torch import save_file
from scipy.sparse import csr_matrix
from torch import Tensor

from xmc.model.card import LexicalCard
from xmc.model.lexical.blend import blended
from xmc.model.lexical.postings import Postings
from xmc.model.lexical.terms import Terms
from xmc.model.tensor_file import ANEW, TensorFile
from xmc.ops.lexical import best_children, best_rows
from xmc.types import TopK, XMCError

CANDIDATES = 50  # of each ranking, at least
_BEAM = 20  # nodes of a level that are looked into
_BUDGET = 1 << 16  # entries that a document may read to find its centroids


@dataclass(frozen=True, slots=True)
class Level:
    """The nodes below those of the level above, and the classifier of each. bias: float32 [n]."""

    postings: Postings
    bias: Tensor


@dataclass(frozen=True, slots=True)
class LexicalHalf:
    """Two more rankings of the labels, by a document's terms, and what they count beside that of the network.

    levels: a tree, from the root down; the probability of a label is that of all nodes on the way to it, as in Parabel
    (Prabhu et al., WWW 2018) and PECOS (Yu et al., JMLR 2022). centroids: the mean of each label's documents, of which
    a document's cosine is its score (Rocchio's classifier); rare labels need them.

    labels: int64 [M], the label of each row of the last level and of the centroids: those with a training document.
    weights: of network, tree and centroids, of sum 1. Labels that the half does not know, such as those that are added
    to a model later, have the probability of the network.
    """

    terms: Terms
    labels: Tensor
    levels: Sequence[Level]
    centroids: Postings
    weights: tuple[float, float, float]
    _of_network: Tensor = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        of_network = torch.ones(int(self.labels.max()) + 1).index_fill_(0, self.labels, self.weights[0])
        object.__setattr__(self, "_of_network", of_network)  # by label; of later ones 1

    def rank(self, ids_BT: Tensor, mask_BT: Tensor, values_BT: Tensor | None, k: int) -> list[TopK]:
        """The k best labels by the tree, with their probabilities, and by the centroids, with their cosines.

        On the CPU. Where there are fewer, the tail is 0 and -1. A ranking that does not count is empty.
        """
        documents = self.terms.matrix(ids_BT, mask_BT, values_BT)
        rankings = (self._by_tree, self._by_centroid)
        return [rank(documents, k if weight else 0) for rank, weight in zip(rankings, self.weights[1:], strict=True)]

    def blend(self, network: TopK, others: Sequence[TopK], k: int) -> TopK:
        """The k best by the weighted sum of the network's probabilities and those of `rank`; scores are its logits."""
        last = len(self._of_network)
        known = network.labels.clamp(0, last - 1)
        of_network = self._of_network[known].masked_fill(network.labels >= last, 1)
        own = TopK(network.scores * of_network, network.labels)
        rest = [TopK(weight * top.scores, top.labels) for weight, top in zip(self.weights[1:], others, strict=True)]
        return blended([own, *rest], k)

    def weighted(self, weights: tuple[float, float, float]) -> "LexicalHalf":
        """With other weights, and without what does not count for them."""
        nothing = replace(self, weights=weights)
        if not weights[1]:
            nothing = replace(nothing, levels=())
        return nothing if weights[2] else replace(nothing, centroids=Postings.of([]))

    def _by_tree(self, documents: csr_matrix, k: int) -> TopK:
        size = documents.shape[0]
        beam = np.zeros((size, 1), np.int64), np.zeros((size, 1), np.float32)
        for number, level in enumerate(self.levels, start=1):
            most = min(level.postings.num_rows, k if number == len(self.levels) else _BEAM)
            beam = best_children(documents, level.postings, level.bias.numpy(), beam, most)
        rows, scores = map(torch.from_numpy, beam)
        return TopK(scores.exp()[:, :k], self._label_of(rows)[:, :k])

    def _by_centroid(self, documents: csr_matrix, k: int) -> TopK:
        rows, cosines = map(torch.from_numpy, best_rows(documents, self.centroids, min(k, len(self.labels)), _BUDGET))
        return TopK(cosines.clamp(0, 1), self._label_of(rows))

    def _label_of(self, rows: Tensor) -> Tensor:
        return torch.where(rows < 0, -1, self.labels[rows.clamp_min(0)])

    def card(self) -> dict[str, object]:
        """What the model's card says of it."""
        return {"levels": len(self.levels), "weights": list(self.weights)}

    def save(self, path: Path) -> None:
        """Write the tensors."""
        tensors = {"terms.idf": self.terms.idf, "terms.bigrams": self.terms.bigrams, "labels": self.labels}
        parts = {f"levels.{number}": level.postings for number, level in enumerate(self.levels)}
        parts |= {"centroids": self.centroids} if self.weights[2] else {}
        tensors |= {f"levels.{number}.bias": level.bias for number, level in enumerate(self.levels)}
        tensors |= {f"{part}.{name}": tensor for part, of in parts.items() for name, tensor in of.tensors().items()}
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)

    @classmethod
    def load(cls, path: Path, card: LexicalCard, vocab_size: int, num_labels: int) -> Self:
        """What `save` wrote. vocab_size: ids of the model's tokenizer.

        Raises:
            XMCError: the tensors do not belong together.
        """
        file = TensorFile(path)
        terms = Terms(_owned(file, "terms.idf", torch.float32), _owned(file, "terms.bigrams", torch.int64))
        labels = _owned(file, "labels", torch.int64)
        if terms.vocab_size != vocab_size or not terms.idf.isfinite().all():
            raise XMCError(f"{path}: terms.idf is of {terms.vocab_size} tokens, the tokenizer has {vocab_size}; {ANEW}")
        if abs(sum(card.weights) - 1) > 1e-6 or bool(card.weights[1]) != bool(card.levels):
            raise XMCError(f"{path}: the weights of the rankings are {card.weights}, of {card.levels} levels; {ANEW}")
        if (
            not len(labels)
            or not bool(((labels >= 0) & (labels < num_labels)).all())
            or len(labels.unique()) < len(labels)
        ):
            raise XMCError(f"{path}: labels are no different ones of {num_labels}; {ANEW}")
        above, levels = 1, []
        for number in range(card.levels):
            bias = _owned(file, f"levels.{number}.bias", torch.float32)
            if (number == card.levels - 1 and len(bias) != len(labels)) or not bias.isfinite().all():
                raise XMCError(f"{path}: levels.{number}.bias is not one finite number a label; {ANEW}")
            levels.append(Level(_postings(file, f"levels.{number}", above, len(bias), len(terms)), bias))
            above = len(bias)
        centroids = _postings(file, "centroids", 1, len(labels), len(terms)) if card.weights[2] else Postings.of([])
        return cls(terms, labels, levels, centroids, card.weights)


def _owned(file: TensorFile, name: str, dtype: torch.dtype) -> Tensor:
    tensor = file.required(name)
    if tensor.dtype != dtype or tensor.dim() != 1:
        raise XMCError(f"{file.path}: {name} is {tensor.dtype} {[*tensor.shape]}, expected {dtype} [any]; {ANEW}")
    return tensor.clone()


def _postings(file: TensorFile, name: str, num_nodes: int, num_rows: int, num_terms: int) -> Postings:
    names = Postings.__slots__
    postings = Postings.from_tensors({field: file.required(f"{name}.{field}").clone() for field in names})
    if (fault := postings.fault(num_nodes, num_rows, num_terms)) is not None:
        raise XMCError(f"{file.path}: {name} {fault}; {ANEW}")
    return postings
