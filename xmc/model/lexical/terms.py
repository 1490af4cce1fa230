"""A document's terms and their weights: a row of TF-IDF."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor

from xmc.ops.bag import count_terms, document_idf, tf_idf

FIRST_WORD = 1  # lower ids are padding


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
