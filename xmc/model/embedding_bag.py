"""A table of embeddings, of which a document sums the rows of its terms."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from xmc.model.tensor_file import WEIGHTS
from xmc.ops.bag import Bags, TableGradient, bag_sums
from xmc.storage import whole_file

CONFIG = "config.json"


@dataclass(frozen=True, kw_only=True)
class EmbeddingBagConfig:
    """Shape of an `EmbeddingBag`. hidden_size: D. term_dropout: share of a document's terms left out in training."""

    model_type: ClassVar[str]

    hidden_size: int = 1024
    term_dropout: float = 0.2

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """From the values of a config.json, which may have others beside them."""
        names = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in names})


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


class EmbeddingBag(nn.Module):
    """What encoders have that are a table [R, D] times a sparse matrix [B, R], and layer norm.

    A step touches only the rows of the terms in its batch. The table's gradient is a coalesced sparse tensor in
    `table.grad` or, where `in_factors`, a `TableGradient` in `gradient`, which is never formed as a whole; in either
    case the same from run to run.
    """

    def __init__(self, config: EmbeddingBagConfig, rows: int) -> None:
        super().__init__()
        self.config = config
        self.table = nn.Parameter(torch.empty(rows, config.hidden_size))
        self.norm = nn.LayerNorm(config.hidden_size)
        self.in_factors = False
        self.gradient: TableGradient | None = None

    def reset_parameters(self) -> None:
        """Random directions for the terms. Not asked for on the meta device: torch would import its compiler for it."""
        nn.init.normal_(self.table, std=0.1)

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

    def finish(self, hidden_BD: Tensor) -> Tensor:
        """What follows layer norm."""
        return hidden_BD

    def save_pretrained(self, folder: Path, *, state_dict: Mapping[str, Tensor]) -> None:
        """Write the folder in Hugging Face layout. state_dict: the tensors as they are to be saved."""
        folder.mkdir(parents=True, exist_ok=True)
        with whole_file(folder / CONFIG) as out:
            values = {"model_type": self.config.model_type, **asdict(self.config)}
            out.write(json.dumps(values, indent=2, sort_keys=True) + "\n")
        save_file(dict(state_dict), folder / WEIGHTS, metadata={"format": "pt"})
