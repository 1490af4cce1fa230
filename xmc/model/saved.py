"""The folder of a saved model: its card, its labels, and layers of the shapes that were saved."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from pyarrow.json import ParseOptions, ReadOptions, read_json
from torch import Tensor

from xmc.model.classifier import Classifier, Dense, FixedFanIn, Layer
from xmc.model.head_and_tail import HeadAndTail
from xmc.model.intermediate import Identity, Linear, build_intermediate
from xmc.model.sparse_ift import SparseIFT, no_connections
from xmc.ops.fan_in import resolve_backend
from xmc.types import Strings, XMCError

FORMAT_VERSION = 3  # 2: `calibration` in the card; 3: `logit_adjustment`
CARD = "xmc.json"
_FILES = ("head.safetensors", "labels.jsonl", "encoder/config.json", "encoder/pooling.json")  # and the weights' shards
_LONGEST_LINE = 1 << 24  # of labels.jsonl, in bytes


def read_card(folder: Path) -> dict[str, Any]:
    """The card. Raises XMCError where there is none, or one of a later format, or where other files are missing."""
    if not (folder / CARD).is_file():
        raise XMCError(f"{folder} is no saved model ({CARD} is missing); give the model/ folder of a finished run")
    card: dict[str, Any] = json.loads((folder / CARD).read_text())
    if card["format_version"] > FORMAT_VERSION:
        raise XMCError(
            f"{folder} has format {card['format_version']}; this xmc reads up to {FORMAT_VERSION}: pip install -U xmc"
        )
    if missing := [name for name in _FILES if not (folder / name).is_file()]:
        raise XMCError(f"{folder} is not whole: {', '.join(missing)} is missing; copy the model again, or save it anew")
    return card


def read_labels(path: Path) -> tuple[Strings, Strings]:
    """Ids and names."""
    schema = pa.schema([("id", pa.string()), ("name", pa.string())])
    table = read_json(path, ReadOptions(block_size=_LONGEST_LINE), ParseOptions(explicit_schema=schema))
    return Strings(table["id"]), Strings(table["name"])


def empty_intermediate(card: dict[str, Any], in_features: int) -> Linear | Identity:
    """An intermediate layer of the saved one's shape."""
    if saved := card.get("transformation"):
        card = card | {"transformation": SparseIFT(**saved), "index_of": no_connections}
    return build_intermediate(in_features=in_features, **card)


def empty_classifier(card: dict[str, Any], head: Mapping[str, Tensor], backend: str, device: str) -> Classifier:
    """A classifier of the saved one's shape."""
    classifier = _classifier_of_kind(card, head, backend, device)
    for name, layer in classifier.named_modules(prefix="classifier"):
        if isinstance(layer, Layer) and (adjustment := head.get(f"{name}.adjustment")) is not None:
            layer.adjustment = torch.empty_like(adjustment)
    return classifier


def _classifier_of_kind(card: dict[str, Any], head: Mapping[str, Tensor], backend: str, device: str) -> Classifier:
    kind, in_features, generator = card["kind"], card["in_features"], torch.Generator()
    if kind == "dense":
        return Dense(in_features, len(head["classifier.weight"]), generator=generator)
    prefix = sparse_prefix(kind)
    dtype = head[f"{prefix}weight"].dtype
    sparse = FixedFanIn(
        in_features,
        torch.empty_like(head[f"{prefix}index"]),
        backend=resolve_backend(device, requested=backend, weight_dtype=dtype)[0],
        generator=generator,
        order_L=head.get(f"{prefix}order"),
        dtype=dtype,
    )
    if kind == "fixed_fan_in":
        return sparse
    dense = Dense(in_features, len(head["classifier.head.weight"]), generator=generator)
    return HeadAndTail(dense, sparse, head["classifier.order"])


def sparse_prefix(kind: str) -> str:
    """Where the state of the sparse layer begins."""
    return "classifier.tail." if kind == HeadAndTail.kind else "classifier."
