"""The files of a lexical half: beside its model, or in a folder of its own."""

import json
from dataclasses import fields
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from xmc.errors import XMCError
from xmc.model.card import ApartCard, LexicalCard, read_part
from xmc.model.lexical import Level, LexicalHalf, Terms, num_features
from xmc.model.neighbours import Neighbours
from xmc.model.tensor_file import ANEW, TensorFile
from xmc.ops.lexical import Postings

_CARD, _TENSORS = "card.json", "lexical.safetensors"  # of a half apart from its model
_NEIGHBOURS = "neighbours."  # before the names of their tensors


def half_card(half: LexicalHalf) -> dict[str, object]:
    """What the model's card says of it."""
    nearest = 0 if half.neighbours is None else half.neighbours.nearest
    return {"levels": len(half.levels), "saw_dev": half.saw_dev, "nearest": nearest}


def save_half(half: LexicalHalf, path: Path) -> None:
    """Write the tensors."""
    tensors = {"terms.idf": half.terms.idf, "terms.bigrams": half.terms.bigrams, "labels": half.labels}
    tensors |= {"counts": half.counts, "coefficients": half.coefficients}
    parts = {f"levels.{number}": level.postings for number, level in enumerate(half.levels)}
    parts["centroids"] = half.centroids
    tensors |= {f"levels.{number}.bias": level.bias for number, level in enumerate(half.levels)}
    tensors |= {f"{part}.{name}": tensor for part, of in parts.items() for name, tensor in of.tensors().items()}
    if half.neighbours is not None:
        tensors |= {_NEIGHBOURS + name: tensor for name, tensor in half.neighbours.tensors().items()}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def load_half(path: Path, card: LexicalCard, vocab_size: int, num_labels: int, width: int) -> LexicalHalf:
    """What `save_half` wrote. vocab_size: ids of the model's tokenizer. width: of its features.

    Raises:
        XMCError: the tensors do not belong together.
    """
    file = TensorFile(path)
    terms = Terms(_owned(file, "terms.idf", torch.float32), _owned(file, "terms.bigrams", torch.int64))
    labels = _owned(file, "labels", torch.int64)
    if terms.vocab_size != vocab_size or not terms.idf.isfinite().all():
        raise XMCError(f"{path}: terms.idf is of {terms.vocab_size} tokens, the tokenizer has {vocab_size}; {ANEW}")
    if not len(labels) or not bool(((labels >= 0) & (labels < num_labels)).all()) or len(labels.unique()) < len(labels):
        raise XMCError(f"{path}: labels are no different ones of {num_labels}; {ANEW}")
    counts = _owned(file, "counts", torch.int64)
    coefficients = _owned(file, "coefficients", torch.float32)
    if len(counts) != len(labels) or not bool((counts > 0).all()):
        raise XMCError(f"{path}: counts is not one positive number a label; {ANEW}")
    neighbours = Neighbours.load(file, card.nearest, width, num_labels, _NEIGHBOURS) if card.nearest else None
    expected = num_features(3 if neighbours is None else 4)
    if len(coefficients) != expected or not coefficients.isfinite().all():
        raise XMCError(f"{path}: coefficients is not {expected} finite numbers; {ANEW}")
    above, levels = 1, []
    for number in range(card.levels):
        bias = _owned(file, f"levels.{number}.bias", torch.float32)
        if (number == card.levels - 1 and len(bias) != len(labels)) or not bias.isfinite().all():
            raise XMCError(f"{path}: levels.{number}.bias is not one finite number a label; {ANEW}")
        levels.append(Level(_postings(file, f"levels.{number}", above, len(bias), len(terms)), bias))
        above = len(bias)
    centroids = _postings(file, "centroids", 1, len(labels), len(terms))
    return LexicalHalf(terms, labels, counts, levels, centroids, coefficients, card.saw_dev, neighbours)


def save_apart(half: LexicalHalf, folder: Path) -> None:
    """Write what `load_apart` reads, in a folder that is there."""
    save_half(half, folder / _TENSORS)
    (folder / _CARD).write_text(json.dumps(half_card(half) | {"vocab_size": half.terms.vocab_size}))


def load_apart(folder: Path, num_labels: int, width: int = 0) -> LexicalHalf:
    """A half without its model, whose features are of that width; 0: it has no neighbours among them.

    Raises XMCError where it is not whole.
    """
    card = read_part(folder / _CARD, ApartCard)
    return load_half(folder / _TENSORS, card, card.vocab_size, num_labels, width)


def _owned(file: TensorFile, name: str, dtype: torch.dtype) -> Tensor:
    tensor = file.required(name)
    if tensor.dtype != dtype or tensor.dim() != 1:
        raise XMCError(f"{file.path}: {name} is {tensor.dtype} {[*tensor.shape]}, expected {dtype} [any]; {ANEW}")
    return tensor.clone()


def _postings(file: TensorFile, name: str, num_nodes: int, num_rows: int, num_terms: int) -> Postings:
    names = [field.name for field in fields(Postings)]
    postings = Postings.from_tensors({field: file.required(f"{name}.{field}").clone() for field in names})
    if (fault := postings.fault(num_nodes, num_rows, num_terms)) is not None:
        raise XMCError(f"{file.path}: {name} {fault}; {ANEW}")
    return postings
