"""Encoders: a Hugging Face backbone, its tokenizer and a pooling make features [B, D] of token ids [B, T]."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Literal, Self

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import SAFE_WEIGHTS_NAME

from xmc.model.bag import BagConfig, BagModel
from xmc.model.sparse_features import SparseFeaturesConfig, SparseFeaturesModel, SparseFeaturesTokenizer
from xmc.model.sparse_ift import SparseIFT, no_connections, sparsify_feed_forward_
from xmc.types import XMCError

_LEXICAL = "lexical"  # folder of the bag in that of the encoder
Pooling = Literal["cls", "mean", "none"]


class Encoder(nn.Module):
    """A backbone and what turns its output into one feature vector a document.

    pooling: `mean` over the unmasked tokens, `cls` the first token, `none` where the backbone pools itself (bags).
    layers: how many of the last hidden states are pooled and joined, [B, layers * hidden size]; LightXML (Jiang et al.
        2021, section 3.2) joins five. One more than the backbone has layers takes its token embeddings in.
    dropout: of the pooled features. frozen: the backbone neither learns nor drops out. transformation: what was done
    to the feed-forward blocks of the backbone. lexical: a bag over the same tokens whose features join the others, for
    rare names, which a transformer blurs.
    """

    def __init__(
        self,
        backbone: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
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
        available = 1 if pooling == "none" else int(backbone.config.num_hidden_layers) + 1
        if not 1 <= layers <= available:
            raise XMCError(f"encoder.layers={layers}: the encoder has {available} hidden states; give 1 to {available}")
        self.backbone = backbone
        self.tokenizer = tokenizer
        self.pooling: Pooling = pooling
        self.max_length = max_length
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
        """Ids [B, T], attention mask [B, T] and, of sparse features, values [B, T], padded as `Batches` pads them.

        Where the tokenizer itself would pad, and with what, plays no part.
        """
        tokens = self.tokenizer(texts, truncation=True, max_length=self.max_length)
        ids = [torch.tensor(row, dtype=torch.int64) for row in tokens["input_ids"]]
        values = [torch.tensor(row, dtype=torch.float32) for row in tokens.get("values", ())]
        return (
            pad_sequence(ids, batch_first=True, padding_value=pad_id(self.tokenizer)),
            pad_sequence([torch.ones_like(row) for row in ids], batch_first=True),
            pad_sequence(values, batch_first=True) if values else None,
        )

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
            output = self.backbone(
                input_ids=input_ids_BT, attention_mask=attention_mask_BT, output_hidden_states=self.layers > 1
            )
            layers = [output.last_hidden_state] if self.layers == 1 else output.hidden_states[-self.layers :]
            features_BD = torch.cat([pool(states.float(), attention_mask_BT, self.pooling) for states in layers], dim=1)
        if self.lexical is not None:
            features_BD = torch.cat([features_BD, self.lexical(input_ids_BT, attention_mask_BT)], dim=1)
        return self.dropout(features_BD.float())

    def save_pretrained(self, folder: Path) -> None:
        """Write backbone and tokenizer in Hugging Face layout, and the pooling beside them.

        A backbone whose feed-forward blocks were transformed can be read by `from_pretrained` alone.
        """
        self.backbone.save_pretrained(folder)
        if self.lexical is not None:
            self.lexical.save_pretrained(folder / _LEXICAL)
        if self.tokenizer.is_fast:  # each call sets them anew; saved, they would tell whether this process tokenised
            self.tokenizer.backend_tokenizer.no_truncation()
            self.tokenizer.backend_tokenizer.no_padding()
        self.tokenizer.save_pretrained(folder)
        pooling = {
            "pooling": self.pooling,
            "max_length": self.max_length,
            "layers": self.layers,
            "dropout": self.dropout.p,
            "transformation": self.transformation and asdict(self.transformation),
            "lexical": self.lexical is not None,
        }
        (folder / "pooling.json").write_text(json.dumps(pooling, indent=2) + "\n")

    @classmethod
    def from_pretrained(cls, folder: Path) -> "Encoder":
        """Read what `save_pretrained` wrote."""
        pooling = json.loads((folder / "pooling.json").read_text())
        saved = pooling.pop("transformation", None)
        if saved is None:
            backbone, tokenizer = load_backbone(str(folder))
        else:
            pooling["transformation"] = SparseIFT(**saved)
            backbone = AutoModel.from_config(AutoConfig.from_pretrained(folder))
            sparsify_feed_forward_(backbone, pooling["transformation"], no_connections, keep=False)
            backbone.load_state_dict(load_file(folder / SAFE_WEIGHTS_NAME))
            tokenizer = AutoTokenizer.from_pretrained(folder)
        if pooling.pop("lexical", False):
            pooling["lexical"] = BagModel.from_pretrained(folder / _LEXICAL)
        return cls(backbone, tokenizer, **pooling)


def pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that fills a batch on the right, behind the attention mask; 0 where the tokenizer has none for it."""
    return 0 if tokenizer.pad_token_id is None else int(tokenizer.pad_token_id)


def load_backbone(name: str, dropout: float | None = None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A Hugging Face model and its tokenizer by hub id or folder; safetensors only, no foreign code.

    dropout: of every part of the backbone that has one; None: as its own configuration says.

    Raises:
        XMCError: there is no such model, or its weights are not in safetensors.
    """
    with _told(name):
        tokenizer = AutoTokenizer.from_pretrained(name)
        config = _configuration(name, dropout)
        backbone = AutoModel.from_pretrained(name, config=config, use_safetensors=True, dtype=torch.float32)
    return backbone, tokenizer


def meta_backbone(name: str, dropout: float | None = None) -> PreTrainedModel:
    """The same model on the meta device: its shapes alone, for which its configuration is enough.

    Raises:
        XMCError: there is no such configuration.
    """
    with _told(name), torch.device("meta"):
        backbone: PreTrainedModel = AutoModel.from_config(_configuration(name, dropout), dtype=torch.float32)
    return backbone


def _configuration(name: str, dropout: float | None) -> PretrainedConfig:
    config = AutoConfig.from_pretrained(name)
    if dropout is not None:
        config.update({key: dropout for key, value in vars(config).items() if _is_dropout(key, value)})
    return config


@contextmanager
def _told(name: str) -> Iterator[None]:
    """What goes wrong while a model is read, as a mistake in its name."""
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        raise XMCError(
            f"encoder {name!r} cannot be loaded: {error}\n"
            "give encoder.name a Hugging Face hub id or a folder with config.json, model.safetensors and a tokenizer"
        ) from None


def _is_dropout(key: str, value: object) -> bool:
    """Whether an entry of a model's configuration is a dropout probability; each family has its own names for them."""
    return "dropout" in key and isinstance(value, (int, float)) and not isinstance(value, bool)


def pool(states_BTD: Tensor, attention_mask_BT: Tensor, pooling: Pooling) -> Tensor:
    """One vector a document out of one a token, [B, D]."""
    if pooling == "cls":
        return states_BTD[:, 0].contiguous()
    mask_BT1 = attention_mask_BT.unsqueeze(-1).to(states_BTD.dtype)
    return (states_BTD * mask_BT1).sum(1) / mask_BT1.sum(1).clamp(min=1.0)


AutoConfig.register(BagConfig.model_type, BagConfig)
AutoModel.register(BagConfig, BagModel)
AutoConfig.register(SparseFeaturesConfig.model_type, SparseFeaturesConfig)
AutoModel.register(SparseFeaturesConfig, SparseFeaturesModel)
AutoTokenizer.register(SparseFeaturesConfig, slow_tokenizer_class=SparseFeaturesTokenizer)
