"""The folder of a saved model: its card, its labels, and layers of the shapes that were saved."""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from safetensors.torch import save_file
from torch import Tensor

from xmc import storage
from xmc.distributed import ALONE, Processes
from xmc.errors import XMCError
from xmc.model.calibration import Calibration
from xmc.model.card import BlendCard, Card, ClassifierCard, IdentityCard, LinearCard, Part, read_part
from xmc.model.classifier import Classifier, FixedFanIn, LinearClassifier
from xmc.model.dense import Dense
from xmc.model.encoder import Encoder
from xmc.model.head_and_tail import HeadAndTail
from xmc.model.hierarchy import check_above
from xmc.model.intermediate import Identity, Linear, intermediate_config
from xmc.model.label_file import read_labels, write_labels
from xmc.model.lexical_file import half_card, load_half, save_half
from xmc.model.seal import sealed
from xmc.model.sharded import shared
from xmc.model.sparse_ift import no_connections
from xmc.model.sparse_linear import SparseLinear
from xmc.model.tensor_file import ANEW, TensorFile, check_size, form
from xmc.ops.fan_in import check_distinct_columns, index_dtype, resolve_backend
from xmc.types import group_size

if TYPE_CHECKING:
    from xmc.model.model import XMCModel

# 2: `calibration` in the card; 3: `logit_adjustment`; 4: the card names the file of the thresholds; 5: tables of int8,
# and the lexical half; 6: blends; 7: neighbours in the lexical half, directions in those of a blend; 8: labels above
# others
FORMAT_VERSION = 8
CARD = "xmc.json"
HEAD = "head.safetensors"
LEXICAL = "lexical.safetensors"
LABELS = "labels.jsonl"
_FILES = (HEAD, LABELS, "encoder/config.json", "encoder/pooling.json")  # and the weights' shards
_WEIGHT_TYPES = (torch.float32, torch.bfloat16)
P = TypeVar("P", bound=Part)


def read_card(folder: Path) -> Card:
    """The card. Raises XMCError where there is none, one of a blend or of a later format, or files are missing."""
    if is_blend(folder):
        raise XMCError(f"{folder} is a blend, which predict and evaluate take; give one of the runs that it is made of")
    card = _read_card(folder, Card)
    if missing := [name for name in _FILES if not (folder / name).is_file()]:
        raise XMCError(f"{folder} is not whole: {', '.join(missing)} is missing; copy the model again, or save it anew")
    return card


def read_blend_card(folder: Path) -> BlendCard:
    """Likewise of a blend."""
    return _read_card(folder, BlendCard)


def is_blend(folder: Path) -> bool:
    """Whether the model of the folder is a blend of several."""
    return (folder / CARD).is_file() and storage.read_json(folder / CARD).get("kind") == "blend"


def _read_card(folder: Path, part: type[P]) -> P:
    path = folder / CARD
    if not path.is_file():
        raise XMCError(f"{folder} is no saved model ({CARD} is missing); give the model/ folder of a finished run")
    version = storage.read_json(path).get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise XMCError(f"{folder} has format {version}; this xmc reads up to {FORMAT_VERSION}: pip install -U xmc")
    return read_part(path, part)


def write_card(model: "XMCModel", folder: Path) -> None:
    """The card of a model, and the file of its thresholds: if interrupted, all stays old."""
    calibration = None if model.calibration is None else model.calibration.save(folder)
    card: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "loss": model.loss,
        "logit_adjustment": model.logit_adjustment,
        "intermediate": intermediate_config(model.intermediate),
        "classifier": {"kind": model.classifier.kind, "in_features": model.classifier.in_features},
        "calibration": calibration,
        "lexical": None if model.lexical is None else half_card(model.lexical),
    }
    files = [folder / HEAD, folder / LABELS, *(path for path in folder.glob("encoder/**/*") if path.is_file())]
    if calibration is not None and calibration["own"]:
        files.append(folder / calibration["own"])
    if model.lexical is not None:
        files.append(folder / LEXICAL)
    with storage.whole_file(folder / CARD) as out:
        out.write(json.dumps(sealed(card, folder, files), indent=2) + "\n")
    for thresholds in folder.glob("thresholds*.safetensors"):
        if calibration is None or thresholds.name != calibration["own"]:
            thresholds.unlink()


def write_model(model: "XMCModel", folder: Path) -> None:
    """See `XMCModel.save_pretrained`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CARD).unlink(missing_ok=True)
    model.encoder.save_pretrained(folder / "encoder")
    head = {k: v.contiguous() for k, v in model.state_dict().items() if not k.startswith("encoder.")}
    if (sparse := model.classifier.sparse) is not None:  # slots that only learn have no part in predictions
        prefix = sparse_prefix(model.classifier.kind)
        for name in (f"{prefix}weight", f"{prefix}index"):
            head[name] = head[name][:, : sparse.active].contiguous()
    save_file(head, folder / HEAD)
    (folder / LEXICAL).unlink(missing_ok=True)
    if model.lexical is not None:
        save_half(model.lexical, folder / LEXICAL)
    write_labels(folder / LABELS, model.label_ids, model.label_names)
    for tensors in folder.rglob("*.safetensors"):  # which safetensors writes for the user's eyes alone
        shutil.copymode(folder / LABELS, tensors)
    write_card(model, folder)


def parts_of(
    folder: Path, card: Card, head: TensorFile, device: str, backend: str, processes: Processes
) -> dict[str, Any]:
    """What `XMCModel` is made of, by the names of its arguments, once it fits together; layers are yet to be filled."""
    encoder = Encoder.from_pretrained(folder / "encoder")
    intermediate = empty_intermediate(card.intermediate, encoder.width, head)
    if intermediate.width != card.classifier.in_features:
        raise XMCError(
            f"{folder}: the classifier reads {card.classifier.in_features} features, the layers before it give "
            f"{intermediate.width}; {ANEW}"
        )
    classifier = empty_classifier(card.classifier, head, backend, device, processes)
    label_ids, label_names = read_labels(folder / LABELS, classifier.num_labels)
    calibration = None
    if card.calibration is not None:
        calibration = Calibration.load(folder, card.calibration, classifier.num_labels)
    lexical = None
    if card.lexical is not None:
        size = len(encoder.tokenizer)
        lexical = load_half(folder / LEXICAL, card.lexical, size, classifier.num_labels, card.classifier.in_features)
    above = torch.empty_like(_pairs(head)) if "above" in head else None
    return {
        "encoder": encoder,
        "intermediate": intermediate,
        "classifier": classifier,
        "label_ids": label_ids,
        "label_names": label_names,
        "loss": card.loss,
        "calibration": calibration,
        "logit_adjustment": card.logit_adjustment,
        "lexical": lexical,
        "above": above,
    }


def empty_intermediate(card: IdentityCard | LinearCard, in_features: int, head: TensorFile) -> Linear | Identity:
    """An intermediate layer of the saved one's shape.

    Raises:
        XMCError: the file is too small for it.
    """
    if isinstance(card, IdentityCard):
        return Identity(in_features)
    transformation = None if card.transformation is None else card.transformation.build()
    make = partial(Linear, in_features, card.width, card.activation, card.dropout, transformation, no_connections)
    check_size(make, head)
    return make()


def empty_classifier(
    card: ClassifierCard, head: TensorFile, backend: str, device: str, processes: Processes = ALONE
) -> Classifier:
    """A classifier of the saved one's shape. processes: that share its labels.

    Raises:
        XMCError: tensors of the file are missing, or do not make a classifier together; or it cannot be shared.
    """
    classifier, labels = _classifier_of_kind(card, head, backend, device, processes)
    for name, layer in classifier.named_modules(prefix="classifier"):
        if isinstance(layer, LinearClassifier) and f"{name}.adjustment" in head:
            layer.adjustment = torch.empty_like(layer.bias)
    return shared(classifier, processes, labels)


def _classifier_of_kind(
    card: ClassifierCard, head: TensorFile, backend: str, device: str, processes: Processes
) -> tuple[Classifier, int]:
    """This process's part of it, and the labels of all."""
    in_features = card.in_features

    def dense_of(name: str) -> tuple[Dense, int]:
        labels = len(_matrix(head, name, in_features))
        return Dense(in_features, labels, shard=processes.shard_of_labels(labels)), labels

    if card.kind == "dense":
        return dense_of("classifier.weight")
    prefix = sparse_prefix(card.kind)
    weight = _matrix(head, f"{prefix}weight")
    index = _matrix(head, f"{prefix}index", weight.shape[1])
    order = _permutation(head, f"{prefix}order", len(weight)) if f"{prefix}order" in head else None
    rows = {-(-len(weight) // size) for size in ([1] if order is None else [group_size(len(weight), len(index))])}
    if {len(index)} != rows or index.shape[1] > in_features or weight.dtype not in _WEIGHT_TYPES:
        raise XMCError(f"{head.path}: {prefix}weight is {form(weight)}, {prefix}index {form(index)}; {ANEW}")
    resolve_backend(device, requested=backend, weight_dtype=weight.dtype)  # what cannot serve is refused here
    if order is not None and processes.size > 1:
        raise XMCError(
            f"{head.path}: labels that share their connections in groups are not divided; divide the documents"
        )
    shard = processes.shard_of_labels(len(index)) if order is None else None
    sparse = FixedFanIn(
        in_features,
        torch.empty(len(index) if shard is None else len(shard), index.shape[1], dtype=index_dtype(in_features)),
        backend=backend,
        order_L=order,
        dtype=weight.dtype,
        shard=shard,
    )
    if card.kind != HeadAndTail.kind:
        return sparse, len(weight)
    dense, in_head = dense_of("classifier.head.weight")
    labels = in_head + len(weight)
    return HeadAndTail(dense, sparse, _permutation(head, "classifier.order", labels), in_head), labels


def _pairs(head: TensorFile) -> Tensor:
    pairs = head.required("above")
    if pairs.dim() != 2 or pairs.shape[1] != 2 or pairs.dtype != torch.int64:
        raise XMCError(f"{head.path}: above is {form(pairs)}, expected int64 [any, 2]; {ANEW}")
    return pairs


def _matrix(head: TensorFile, name: str, columns: int | None = None) -> Tensor:
    """A tensor that is there and has rows, of so many columns where that is known."""
    tensor = head.required(name)
    if tensor.dim() != 2 or not tensor.numel() or columns not in (None, tensor.shape[1]):
        raise XMCError(f"{head.path}: {name} is {form(tensor)}, expected [any, {columns or 'any'}]; {ANEW}")
    return tensor


def _permutation(head: TensorFile, name: str, size: int) -> Tensor:
    order = head.required(name)
    numbers = torch.arange(size)
    if order.dtype != numbers.dtype or not torch.equal(order.sort().values, numbers):
        raise XMCError(f"{head.path}: {name} is {form(order)}, expected each number from 0 to {size - 1}; {ANEW}")
    return order.clone()


def check_connections(model: "XMCModel") -> None:
    """Raise XMCError where a sparse layer of a saved model has a column that there is not, or one twice in a row, or
    what is above a label is none."""
    if model.above is not None:
        check_above(model.above, len(model.label_ids))
    for name, layer in model.named_modules():
        if isinstance(layer, FixedFanIn | SparseLinear):
            try:
                check_distinct_columns(layer.index, layer.in_features)
            except ValueError as error:
                raise XMCError(f"{name}.{error}; {ANEW}") from None


def sparse_prefix(kind: str) -> str:
    """Where the state of the sparse layer begins."""
    return "classifier.tail." if kind == HeadAndTail.kind else "classifier."
