"""A table of embeddings, of which a document sums the rows of its terms."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PretrainedConfig, PreTrainedModel


class _SparseBag(torch.autograd.Function):
    """Sparse [B, R] times table [R, D]; the gradient of the table is sparse and coalesced."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, documents: Tensor, terms: Tensor, values: Tensor, size: int) -> Tensor:
        """Entries sorted by document: documents, terms int64 [E], values [E]. Returns [size, D]."""
        ctx.save_for_backward(documents, terms, values)
        ctx.shape = table.shape
        offsets = torch.searchsorted(documents, torch.arange(size, device=table.device))
        return F.embedding_bag(terms, table.detach(), offsets, mode="sum", per_sample_weights=values)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None, None, None]:
        documents, terms, values = ctx.saved_tensors
        terms, order = terms.sort(stable=True)
        rows, counts = terms.unique_consecutive(return_counts=True)
        grad = F.embedding_bag(
            documents[order],
            grad_outputs[0].contiguous(),
            counts.cumsum(0) - counts,
            mode="sum",
            per_sample_weights=values[order],
        )
        sparse = torch.sparse_coo_tensor(rows[None], grad, ctx.shape, is_coalesced=True, check_invariants=False)
        return sparse, None, None, None, None


class EmbeddingBag(PreTrainedModel):
    """What encoders have that are a table [R, D] times a sparse matrix [B, R], and layer norm.

    A step touches only the rows of the terms in its batch, and the table's gradient is a coalesced sparse tensor, the
    same from run to run. The configuration has `hidden_size`, D, and `term_dropout`, the share of a document's terms
    left out in training.
    """

    def __init__(self, config: PretrainedConfig, rows: int) -> None:
        super().__init__(config)
        self.table = nn.Parameter(torch.empty(rows, config.hidden_size))
        self.norm = nn.LayerNorm(config.hidden_size)

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, EmbeddingBag):
            nn.init.normal_(module.table, std=0.1)

    def drop_terms(self, *entries: Tensor) -> tuple[Tensor, ...]:
        """What training leaves of the entries, each a tensor [E]; evaluation leaves all."""
        if not self.training or not self.config.term_dropout:
            return entries
        keep = torch.rand(entries[0].shape, device=entries[0].device) >= self.config.term_dropout
        return tuple(entry[keep] for entry in entries)

    def embed(self, documents: Tensor, terms: Tensor, values: Tensor, size: int) -> Tensor:
        """Weighted sums of rows, normalised, [B, D]. Entries sorted by document; values [E]. size: B."""
        hidden: Tensor = self.norm(_SparseBag.apply(self.table, documents, terms, values, size))
        return hidden
