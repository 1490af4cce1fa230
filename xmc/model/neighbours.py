"""The training documents most like a document, and the labels that they carry."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import save_file
from scipy.sparse import csr_matrix
from torch import Tensor

from xmc.errors import XMCError
from xmc.model.tensor_file import ANEW, TensorFile, check_finite, form
from xmc.ops.compiled import in_parallel, kernel, ranges_of
from xmc.ops.lexical import ranking_kernels
from xmc.ops.lexical.ranking_kernels import insert
from xmc.types import TopK

Ranked = tuple[NDArray[np.int64], NDArray[np.float32]]
compiled = kernel(__file__, ranking_kernels.__file__)

WIDTH = 64  # directions, at most
_ITERATIONS = 4
_BLOCK = 1 << 14  # documents whose products are there together
_FORMS = {  # of what is saved: type and dimensions
    "directions": (torch.float32, 2),
    "features": (torch.float16, 2),
    "offsets": (torch.int64, 1),
    "labels": (torch.int32, 1),
}


def principal_directions(features_ND: Tensor, width: int, seed: int) -> Tensor:
    """An orthonormal basis of the space in which rows of length 1 differ most, float32 [D, d], d <= width.

    By orthogonal iteration (Golub and Van Loan, Matrix Computations, section 8.2.4).
    """
    rows = F.normalize(features_ND.double().cpu())
    start = torch.randn(rows.shape[1], min(width, *rows.shape), generator=torch.Generator().manual_seed(seed))
    basis = start.double()
    for _ in range(_ITERATIONS):
        basis = torch.linalg.qr(rows.T @ (rows @ basis)).Q
    return basis.float().contiguous()


@dataclass(frozen=True, slots=True)
class Neighbours:
    """N training documents, of which the nearest by cosine vote for their labels.

    Documents are compared in a few directions of the features' space: that is as good as in all of it
    (docs/results/out_of_the_box.md), and takes an eighth of the time.

    directions: float32 [D, d]. features: float16 [N, d], rows of length 1. offsets, labels: int64 [N + 1] and int32
    [P], those of document i being `labels[offsets[i]:offsets[i + 1]]`. nearest: how many vote.
    """

    directions: Tensor
    features: Tensor
    offsets: Tensor
    labels: Tensor
    nearest: int
    _compared: Tensor = field(init=False, repr=False, compare=False)  # float32 [d, N]

    def __post_init__(self) -> None:
        object.__setattr__(self, "_compared", self.features.float().T.contiguous())

    @classmethod
    def of(cls, directions: Tensor, features_Nd: Tensor, labels: csr_matrix, nearest: int) -> Self:
        """features_Nd: rows of `seen_from`. labels: CSR [N, L]."""
        offsets, carried = torch.from_numpy(labels.indptr.astype(np.int64)), torch.from_numpy(labels.indices)
        return cls(directions, features_Nd.half(), offsets, carried.int(), nearest)

    def rank(self, features_BD: Tensor, k: int) -> TopK:
        """The k labels with the largest share of the nearest documents, each of which counts as its similarity.

        The search is exact, and takes memory for a block of documents at a time. Of equally near ones the first are
        taken. Where there are fewer labels, the tail is 0 and -1.
        """
        queries = seen_from(self.directions, features_BD).numpy()
        rows, cosines = nearest(queries, self._compared.numpy(), self.nearest)
        labels, shares = votes(rows, cosines, self.offsets.numpy(), self.labels.numpy(), k)
        return TopK(torch.from_numpy(shares), torch.from_numpy(labels))

    def tensors(self) -> dict[str, Tensor]:
        """What is saved."""
        return {name: getattr(self, name) for name in _FORMS}

    def save(self, path: Path) -> None:
        save_file(self.tensors(), path)

    @classmethod
    def load(cls, file: TensorFile, nearest: int, width: int, num_labels: int, prefix: str = "") -> Self:
        """What `save` wrote, or of a larger file the tensors whose names begin so.

        Before there were directions, all features were compared.

        Raises:
            XMCError: the tensors do not belong together, or to a model of that width and so many labels.
        """
        found = {name: file.required(prefix + name).clone() for name in ("features", "offsets", "labels")}
        there = f"{prefix}directions" in file
        found["directions"] = file.required(f"{prefix}directions").clone() if there else torch.eye(width)
        for name, (dtype, dim) in _FORMS.items():
            if (tensor := found[name]).dtype != dtype or tensor.dim() != dim or not tensor.numel():
                wrong = f"{prefix}{name} is {form(tensor)}, expected {dtype} of {dim} dimensions"
                raise XMCError(f"{file.path}: {wrong}; {ANEW}")
        directions, features, offsets, labels = (found[name] for name in _FORMS)
        if directions.shape != (width, features.shape[1]) or len(offsets) != len(features) + 1:
            shapes = ", ".join(f"{prefix}{name} {form(tensor)}" for name, tensor in found.items())
            raise XMCError(f"{file.path}: {shapes} do not belong together, or to {width} features; {ANEW}")
        if offsets[0] != 0 or offsets[-1] != len(labels) or bool((offsets.diff() < 0).any()):
            raise XMCError(f"{file.path}: {prefix}offsets do not ascend from 0 to {len(labels)}; {ANEW}")
        if not bool(((labels >= 0) & (labels < num_labels)).all()):
            raise XMCError(f"{file.path}: {prefix}labels has one out of range, there are {num_labels}; {ANEW}")
        check_finite({f"{prefix}{name}": found[name] for name in ("features", "directions")}, file.path)
        return cls(directions, features, offsets, labels, nearest)


def seen_from(directions: Tensor, features_BD: Tensor) -> Tensor:
    """Features as they are compared, float32 [B, d] of length 1, on the CPU."""
    return F.normalize(features_BD.float().cpu() @ directions)


def nearest(queries: NDArray[np.float32], columns: NDArray[np.float32], k: int) -> Ranked:
    """The k columns of the largest product with each query, best first, int64 [B, k], and the products.

    queries: [B, d]. columns: [d, N]. Of equal products the first columns are taken. -1 and -inf where there are fewer.
    """
    size = len(queries)
    found, best = np.full((size, k), -1, np.int64), np.full((size, k), -np.inf, np.float32)
    for first in range(0, columns.shape[1], _BLOCK):
        products = queries @ columns[:, first : first + _BLOCK]

        def run(start: int, stop: int, first: int = first, products: NDArray[np.float32] = products) -> None:
            keep_best(products, first, found, best, start, stop)

        in_parallel(keep_best, run, ranges_of(size, 8, 16))
    return found, best


def votes(
    voters: NDArray[np.int64],
    weights: NDArray[np.float32],
    offsets: NDArray[np.int64],
    labels: NDArray[np.int32],
    k: int,
) -> Ranked:
    """The k labels with the largest share of their voters' weight, best first, int64 [B, k], and the shares.

    voters: int64 [B, n], -1 for none. weights: [B, n], of which those above 0 count. A voter v is for each of
    `labels[offsets[v]:offsets[v + 1]]`, which are different. Equal shares rank by ascending label; the tail is -1
    and 0.
    """
    size = len(voters)
    found, best = np.full((size, k), -1, np.int64), np.zeros((size, k), np.float32)

    def run(start: int, stop: int) -> None:
        count_votes(voters, weights, offsets, labels, found, best, start, stop)

    in_parallel(count_votes, run, ranges_of(size, 8, 16))
    return found, best


@compiled
def keep_best(products, first, found, best, start, stop):  # type: ignore[no-untyped-def]
    """Take in products [B, n] of the columns from `first` on."""
    k = found.shape[1]
    for row in range(start, stop):
        for column in range(products.shape[1]):
            if products[row, column] > best[row, k - 1]:
                insert(found[row], best[row], first + column, products[row, column])


@compiled
def count_votes(voters, weights, offsets, labels, found, best, start, stop):  # type: ignore[no-untyped-def]
    """See `votes`."""
    k = found.shape[1]
    for row in range(start, stop):
        total, number = np.float32(0), 0
        for i in range(voters.shape[1]):
            if voters[row, i] >= 0 and weights[row, i] > 0:
                total += weights[row, i]
                number += offsets[voters[row, i] + 1] - offsets[voters[row, i]]
        named, shares, at = np.empty(number, np.int32), np.empty(number, np.float32), 0
        for i in range(voters.shape[1]):
            if voters[row, i] >= 0 and weights[row, i] > 0:
                for entry in range(offsets[voters[row, i]], offsets[voters[row, i] + 1]):
                    named[at], shares[at] = labels[entry], weights[row, i] / total
                    at += 1
        order, at = np.argsort(named, kind="mergesort"), 0
        while at < number:
            label, share = named[order[at]], np.float32(0)
            while at < number and named[order[at]] == label:
                share += shares[order[at]]
                at += 1
            if share > best[row, k - 1]:
                insert(found[row], best[row], label, share)
