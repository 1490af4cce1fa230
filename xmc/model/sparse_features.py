"""Encoder of sparse features: a weighted sum of embeddings, for documents that are published as numbers, not as text.

    `feature:value ...` -> ids and values [B, T] -> sparse [B, R], R features -> times the table [R, D] -> layer norm

The values are taken as they are: layer norm makes a document's scale irrelevant.
"""

import heapq
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from xmc.model.bag import EmbeddingBag, EmbeddingBagConfig
from xmc.sparse_rows import SparseRow
from xmc.storage import read_json
from xmc.tokenizer import Tokenized, Tokenizer


@dataclass(frozen=True)
class SparseFeaturesConfig(EmbeddingBagConfig):
    """Shape of a `SparseFeaturesModel`. num_features: R."""

    model_type = "xmc_sparse_features"

    num_features: int = 0


class SparseFeaturesModel(EmbeddingBag):
    """The encoder of sparse features; see the module's docstring."""

    config: SparseFeaturesConfig

    def __init__(self, config: SparseFeaturesConfig) -> None:
        super().__init__(config, config.num_features)
        if not self.table.is_meta:
            self.reset_parameters()

    def terms(
        self, input_ids_BT: Tensor, attention_mask_BT: Tensor, values_BT: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Documents int64 [E], features int64 [E] (row of the table) and values [E], sorted by document."""
        documents, places = attention_mask_BT.nonzero(as_tuple=True)
        return documents, input_ids_BT[documents, places], values_BT[documents, places]

    def forward(self, input_ids: Tensor, attention_mask: Tensor, values: Tensor) -> Tensor:
        """Features [B, D] of ids and mask, int64 [B, T], and values, float32 [B, T], padded on the right."""
        documents, terms, weights = self.drop_terms(*self.terms(input_ids, attention_mask, values))
        return self.embed(documents, terms, weights, input_ids.shape[0])


class SparseFeaturesTokenizer(Tokenizer):
    """Reads `feature:value ...`: a feature's number is its id, and its value comes along."""

    FILE = "tokenizer_config.json"
    has_values = True

    def __init__(self, num_features: int) -> None:
        self.num_features = num_features

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote."""
        return cls(read_json(folder / cls.FILE)["num_features"])

    def __call__(self, texts: Sequence[str], max_length: int) -> Tokenized:
        """Ids and values of each row, ids ascending.

        Of more than `max_length` features a row keeps those of the largest values, whatever their sign.

        Raises XMCError for a row that is no such text, or has a feature that there is not.
        """
        rows = [_largest(SparseRow.parse(row, self.num_features, f"{row!r:.40}"), max_length) for row in texts]
        return Tokenized([row.columns for row in rows], [row.values for row in rows])

    def __len__(self) -> int:
        return self.num_features

    @property
    def content(self) -> Any:
        settings = {"num_features": self.num_features, "backend": "custom"}
        return [type(self).__name__, "right", {}, [settings, {}]]

    def save(self, folder: Path) -> None:
        settings = {"num_features": self.num_features, "tokenizer_class": type(self).__name__}
        (folder / self.FILE).write_text(json.dumps(settings, indent=2) + "\n")

    def located(self, text: str, max_length: int) -> tuple[Tokenized, Sequence[tuple[int, int]]]:
        row = self([text], max_length)
        found = {int(entry[1]): entry.span() for entry in re.finditer(r"(\d+):\S+", text)}
        return row, [found[feature] for feature in row.ids[0]]


def _largest(row: SparseRow, limit: int) -> SparseRow:
    """The entries of the largest absolute values; of equal ones the first."""
    if len(row.columns) <= limit:
        return row
    places = sorted(heapq.nlargest(limit, range(len(row.values)), key=lambda place: abs(row.values[place])))
    return SparseRow([row.columns[place] for place in places], [row.values[place] for place in places])
