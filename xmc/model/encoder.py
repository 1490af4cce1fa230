"""Encoders: a Hugging Face backbone, its tokenizer and a pooling make features [B, D] of token ids [B, T]."""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from xmc.errors import XMCError
from xmc.model.bag import BagModel, EmbeddingBag
from xmc.model.card import EncoderCard, Pooling, read_part
from xmc.model.encoder_folder import check_tokens, saved_backbone, saved_tokenizer, told
from xmc.model.quantised import packed
from xmc.model.sparse_features import SparseFeaturesModel
from xmc.model.sparse_ift import SparseIFT
from xmc.storage import whole_file
from xmc.tokenizer import Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

_LEXICAL = "lexical"  # folder of the bag in that of the encoder
_POSITIONS = ("position_embeddings", "embed_positions", "wpe")  # names of tables of positions in Hugging Face models


class Encoder(nn.Module):
    """A backbone and what turns its output into one feature vector a document.

    pooling: `mean` over the unmasked tokens, `cls` the first token, `none` where the backbone pools itself (bags).
    max_length: tokens read of a document, at most as many as the backbone has positions for.
    layers: how many of the last hidden states are pooled and joined, [B, layers * hidden size]; LightXML (Jiang et al.
        2021, section 3.2) joins five. One more than the backbone has layers takes its token embeddings in.
    dropout: of the pooled features. frozen: the backbone neither learns nor drops out. transformation: what was done
    to the feed-forward blocks of the backbone. lexical: a bag over the same tokens whose features join the others, for
    rare names, which a transformer blurs.
    """

    def __init__(
        self,
        backbone: "PreTrainedModel | EmbeddingBag",
        tokenizer: Tokenizer,
        *,
        pooling: Pooling,
        max_length: int,
        layers: int = 1,
        dropout: float = 0.0,
        frozen: bool = False,
        transformation: SparseIFT | None = None,
        lexical: BagModel | None = None,
    ) -> None:
        super().__init__()
        if isinstance(backbone, EmbeddingBag) != (pooling == "none"):
            kind = type(backbone).__name__
            raise XMCError(f"{kind} does not go with encoder.pooling={pooling}; give encoder.name a transformer")
        available = 1 if isinstance(backbone, EmbeddingBag) else int(backbone.config.num_hidden_layers) + 1
        if not 1 <= layers <= available:
            raise XMCError(f"encoder.layers={layers}: the encoder has {available} hidden states; give 1 to {available}")
        self.backbone = backbone
        self.tokenizer = tokenizer
        self.pooling: Pooling = pooling
        self.max_length = max_length if isinstance(backbone, EmbeddingBag) else fitting_length(backbone, max_length)
        self.layers = layers
        self.dropout = nn.Dropout(dropout)
        self.frozen = frozen
        self.transformation = transformation
        self.lexical = lexical
        if frozen:
            backbone.requires_grad_(False)

    @property
    def width(self) -> int:
        """D, the length of a feature vector."""
        beside = self.lexical.config.hidden_size if self.lexical is not None else 0
        return self.layers * int(self.backbone.config.hidden_size) + int(beside)

    @property
    def reads_text(self) -> bool:
        """Whether documents are texts, and not sparse features."""
        return not isinstance(self.backbone, SparseFeaturesModel)

    def tokenize(self, texts: list[str]) -> tuple[Tensor, Tensor, Tensor | None]:
        """Ids [B, T], attention mask [B, T] and, of sparse features, values [B, T], padded as `Batches` pads them."""
        ids, values = self.tokenizer(texts, self.max_length)
        rows = [torch.tensor(row, dtype=torch.float32) for row in values or ()]
        return *self._padded(ids), pad_sequence(rows, batch_first=True) if rows else None

    def _padded(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Ids and attention mask, int64 [B, T]."""
        shape = len(rows), max(map(len, rows), default=0)
        ids, mask = np.full(shape, self.tokenizer.pad_id), np.zeros(shape, np.int64)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = row
            mask[i, : len(row)] = 1
        return torch.from_numpy(ids), torch.from_numpy(mask)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def forward(self, input_ids_BT: Tensor, attention_mask_BT: Tensor, values_BT: Tensor | None = None) -> Tensor:
        """Features [B, D] in float32. values_BT: as in `Batch`."""
        if values_BT is not None:
            features_BD = self.backbone(input_ids_BT, attention_mask_BT, values_BT)
        elif self.pooling == "none":
            features_BD = self.backbone(input_ids_BT, attention_mask_BT)
        else:
            features_BD = self.pooled(input_ids_BT, attention_mask_BT)
        if self.lexical is not None:
            features_BD = torch.cat([features_BD, self.lexical(input_ids_BT, attention_mask_BT)], dim=1)
        return self.dropout(features_BD.float())

    def pooled(self, input_ids_BT: Tensor, attention_mask_BT: Tensor) -> Tensor:
        """What the transformer alone makes of the tokens, [B, D] in float32."""
        output = self.backbone(
            input_ids=input_ids_BT, attention_mask=attention_mask_BT, output_hidden_states=self.layers > 1
        )
        layers = [output.last_hidden_state] if self.layers == 1 else output.hidden_states[-self.layers :]
        return torch.cat([pool(states.float(), attention_mask_BT, self.pooling) for states in layers], dim=1)

    def save_pretrained(self, folder: Path) -> None:
        """Write backbone and tokenizer in Hugging Face layout, and the pooling beside them.

        A bag of rounded rows (see `quantised`), and a backbone whose feed-forward blocks were transformed, can be read
        by `from_pretrained` alone.
        """
        self.backbone.save_pretrained(folder, state_dict=packed(self.backbone))
        if self.lexical is not None:
            self.lexical.save_pretrained(folder / _LEXICAL, state_dict=packed(self.lexical))
        self.tokenizer.save(folder)
        pooling = {
            "pooling": self.pooling,
            "max_length": self.max_length,
            "layers": self.layers,
            "dropout": self.dropout.p,
            "transformation": self.transformation and asdict(self.transformation),
            "lexical": self.lexical is not None,
        }
        with whole_file(folder / "pooling.json") as out:
            out.write(json.dumps(pooling, indent=2) + "\n")

    @classmethod
    def from_pretrained(cls, folder: Path) -> "Encoder":
        """Read what `save_pretrained` wrote.

        Raises:
            XMCError: it is not whole, or its parts do not belong together.
        """
        card = read_part(folder / "pooling.json", EncoderCard)
        transformation = None if card.transformation is None else card.transformation.build()
        with told(str(folder), "copy the model again, or save it anew"):
            backbone = saved_backbone(folder, transformation)
            lexical = saved_backbone(folder / _LEXICAL) if card.lexical else None
            if not isinstance(lexical, BagModel | None):
                raise XMCError(f"{folder / _LEXICAL} is no bag; copy the model again, or save it anew")
            tokenizer = saved_tokenizer(folder, backbone)
            if card.max_length <= (special := tokenizer.num_special):  # which would never be cut off
                raise XMCError(
                    f"{folder}: max_length {card.max_length} has no room for text beside {special} special tokens; "
                    "copy the model again, or save it anew"
                )
            for model in (backbone, lexical):
                if model is not None:
                    check_tokens(tokenizer, model, folder)
            return cls(
                backbone,
                tokenizer,
                pooling=card.pooling,
                max_length=card.max_length,
                layers=card.layers,
                dropout=card.dropout,
                transformation=transformation,
                lexical=lexical,
            )


def fitting_length(backbone: "PreTrainedModel", max_length: int) -> int:
    """So many tokens, or as many as the backbone has positions for, where that is fewer; told in the log."""
    tables = [
        table.num_embeddings - (getattr(table, "offset", 0) if table.padding_idx is None else table.padding_idx + 1)
        for name, table in backbone.named_modules()
        if isinstance(table, nn.Embedding) and name.rpartition(".")[2] in _POSITIONS
    ]
    most = min([*tables, backbone.config.max_position_embeddings]) if tables else max_length
    if max_length > most:
        logger.warning(
            "encoder.max_length=%d: %s has positions for %d tokens, and so many of a document are read",
            *(max_length, type(backbone).__name__, most),
        )
    return min(max_length, most)


def pool(states_BTD: Tensor, attention_mask_BT: Tensor, pooling: Pooling) -> Tensor:
    """One vector a document out of one a token, [B, D]."""
    if pooling == "cls":
        return states_BTD[:, 0].contiguous()
    mask_BT1 = attention_mask_BT.unsqueeze(-1).to(states_BTD.dtype)
    return (states_BTD * mask_BT1).sum(1) / mask_BT1.sum(1).clamp(min=1.0)
