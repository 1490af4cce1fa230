"""A table of embeddings, of which a document sums the rows of its terms."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from xmc.ops.bag import Bags, TableGradient, bag_sums


class _Sums(torch.autograd.Function):
    """`bag_sums` of a module's table."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, bags: Bags, module: "EmbeddingBag") -> Tensor:
        ctx.bags, ctx.module = bags, module
        return bag_sums(table, bags)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, of_sums: Tensor) -> tuple[Tensor | None, None, None]:
        gradient, module = TableGradient(ctx.bags, of_sums), ctx.module
        if not module.in_factors:
            return gradient.to_sparse(len(module.table)), None, None
        module.gradient = gradient if module.gradient is None else module.gradient.plus(gradient)
        return None, None, None


class EmbeddingBag(PreTrainedModel):
    """What encoders have that are a table [R, D] times a sparse matrix [B, R], and layer norm.

    A step touches only the rows of the terms in its batch. The table's gradient is a coalesced sparse tensor in
    `table.grad` or, where `in_factors`, a `TableGradient` in `gradient`, which is never formed as a whole; in either
    case the same from run to run. The configuration has `hidden_size`, D, and `term_dropout`, the share of a
    document's terms left out in training.
    """

    def __init__(self, config: PretrainedConfig, rows: int) -> None:
        super().__init__(config)
        self.table = nn.Parameter(torch.empty(rows, config.hidden_size))
        self.norm = nn.LayerNorm(config.hidden_size)
        self.in_factors = False
        self.gradient: TableGradient | None = None

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
        bags = Bags.of(documents, terms, values, size)
        sums = _Sums.apply(self.table, bags, self) if torch.is_grad_enabled() else bag_sums(self.table, bags)
        hidden: Tensor = self.norm(sums)
        return hidden
