"""Bag encoder: a TF-IDF-weighted sum of word and bigram embeddings, for machines without a GPU and without downloads.

    ids [B, T] -> terms (words, frequent bigrams), counted by document -> sparse [B, R] of TF-IDF, rows of unit length
               -> times the table [R, D] -> layer norm -> residual MLP (if any) -> features [B, D]

R counts the rows of the table: the vocabulary first, the bigrams behind it. TF-IDF is where the terms' weights start; a
row's length is its learned part.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from xmc.model.tensor_file import WEIGHTS
from xmc.model.word_tokenizer import NUM_SPECIAL, UNKNOWN
from xmc.ops.bag import Bags, TableGradient, bag_sums, count_terms, document_idf, tf_idf
from xmc.storage import whole_file

CONFIG = "config.json"
_CHUNK = 4096  # documents at a time when bigrams are counted


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


@dataclass(frozen=True)
class BagConfig(EmbeddingBagConfig):
    """Shape of a `BagModel`.

    vocab_size: ids of the tokenizer. num_bigrams: bigram rows. intermediate_size: width inside the residual MLP; 0
    leaves it out. num_words: ids below it have a row, the rest count as unknown; None: all have one.
    """

    model_type = "xmc_bag"

    vocab_size: int = 50_000
    num_bigrams: int = 100_000
    intermediate_size: int = 0
    num_words: int | None = None

    @property
    def word_rows(self) -> int:
        """Rows of the table that are words; those of the bigrams stand behind them."""
        return self.vocab_size if self.num_words is None else self.num_words


class BagModel(EmbeddingBag):
    """The bag encoder; see the module's docstring."""

    config: BagConfig
    idf: Tensor
    bigrams: Tensor

    def __init__(self, config: BagConfig) -> None:
        rows, width = config.word_rows + config.num_bigrams, config.hidden_size
        super().__init__(config, rows)
        self.register_buffer("idf", torch.ones(rows))
        self.register_buffer("bigrams", torch.empty(config.num_bigrams, dtype=torch.int64))
        self.mlp: nn.Sequential | None = None
        if inner := config.intermediate_size:
            self.mlp = nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))
        if not self.table.is_meta:
            self.reset_parameters()

    def reset_parameters(self) -> None:
        """Random directions for the terms; the residual MLP starts as the identity."""
        torch.arange(len(self.bigrams), out=self.bigrams)
        linear = [layer for layer in self.mlp or () if isinstance(layer, nn.Linear)]
        for layer in linear:
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
            nn.init.zeros_(layer.bias)
        if linear:
            nn.init.zeros_(linear[-1].weight)
        super().reset_parameters()

    @torch.no_grad()
    def learn_terms(self, bigrams: NDArray[np.int64], documents: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Take over the bigrams (see `frequent_bigrams`) and count the terms' document frequencies.

        documents: token ids and attention masks, batch by batch.
        """
        self.bigrams.copy_(torch.from_numpy(bigrams))
        batches = ((self.terms(ids_BT, mask_BT)[1], len(ids_BT)) for ids_BT, mask_BT in documents)
        self.idf.copy_(document_idf(batches, len(self.idf)))

    def terms(self, input_ids_BT: Tensor, attention_mask_BT: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Distinct terms of each document.

        Returns documents int64 [E], terms int64 [E] (row of the table), counts int64 [E], sorted by document, term.
        """
        known = self.config.word_rows
        if known < self.config.vocab_size:
            input_ids_BT = torch.where(input_ids_BT < known, input_ids_BT, UNKNOWN)
        return count_terms(input_ids_BT, attention_mask_BT, self.bigrams, NUM_SPECIAL, known)

    def weigh(self, documents: Tensor, terms: Tensor, counts: Tensor, size: int) -> Tensor:
        """TF-IDF of the entries, (1 + log tf) idf, each document's of unit length, float32 [E]."""
        return tf_idf(documents, terms, counts, self.idf, size)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Features [B, D] of token ids and attention mask, int64 [B, T], padded on the right."""
        size = input_ids.shape[0]
        documents, terms, counts = self.drop_terms(*self.terms(input_ids, attention_mask))
        return self.finish(self.embed(documents, terms, self.weigh(documents, terms, counts, size), size))

    def finish(self, hidden_BD: Tensor) -> Tensor:
        return hidden_BD if self.mlp is None else hidden_BD + self.mlp(hidden_BD)


def frequent_bigrams(
    token_ids: NDArray[np.integer], offsets: NDArray[np.integer], vocab_size: int, limit: int, min_documents: int
) -> NDArray[np.int64]:
    """The `limit` bigrams that occur in most documents, at least in `min_documents`, as keys in ascending order.

    A key is first * vocab_size + second.

    token_ids: all documents' tokens, one after another. offsets: [N + 1], where each begins.
    """
    keys, counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
    for start in range(0, len(offsets) - 1, _CHUNK):
        bounds = offsets[start : start + _CHUNK + 1]
        ids = token_ids[bounds[0] : bounds[-1]].astype(np.int64)
        document = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
        known = ids >= NUM_SPECIAL
        both = known[:-1] & known[1:] & (document[:-1] == document[1:])
        found = (ids[:-1] * vocab_size + ids[1:])[both]
        # with counts, np.unique sorts; without, it hashes, which takes forty times as long
        by_document, _ = np.unique(document[:-1][both] * vocab_size**2 + found, return_counts=True)
        new, new_counts = np.unique(by_document % vocab_size**2, return_counts=True)
        keys, inverse = np.unique(np.concatenate([keys, new]), return_inverse=True)
        counts = np.bincount(inverse, np.concatenate([counts, new_counts])).astype(np.int64)
    kept = np.flatnonzero(counts >= min_documents)
    kept = kept[np.argsort(-counts[kept], kind="stable")[:limit]]
    return np.sort(keys[kept])
