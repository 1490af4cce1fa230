"""What a model says of a text, and what texts it takes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor

from xmc.errors import XMCError

DEFAULT_K = 5

Threshold = float | Literal["auto"] | None
"""Probability from which on a label is suggested; auto: the label's own or the model's; None: all are."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """One suggested label. score: its probability. logit: what it is ranked by, where probabilities are 0 or 1 too.

    Of a calibrated model the logit is the log-odds of the score. words: those that add most to the logit, and how much;
    None where nobody asked. above: names of the labels above it, the topmost first.
    """

    label: str
    name: str
    score: float
    logit: float
    words: Sequence[tuple[str, float]] | None = None
    above: Sequence[str] = ()


class Named(Protocol):
    """What has a list of labels."""

    label_ids: Sequence[str]
    label_names: Sequence[str]

    def names_above(self, label: int) -> list[str]: ...


def predictions(
    model: Named, labels: Tensor, probabilities: Tensor, logits: Tensor, suggested: Tensor
) -> Iterator[list[Prediction]]:
    """The suggested ones of each document's ranked labels, all [B, k]."""
    for row in zip(*(part.tolist() for part in (labels, probabilities, logits, suggested)), strict=True):
        yield [
            Prediction(model.label_ids[label], model.label_names[label], score, logit, above=model.names_above(label))
            for label, score, logit, suggest in zip(*row, strict=True)
            if suggest
        ]


def sigmoid(logits: Tensor) -> Tensor:
    """1 / (1 + exp(-logits)), of the same type and shape.

    On the CPU torch takes vectors of numbers, and the last few by another function, whose last bit may differ.
    """
    if logits.device.type != "cpu":
        return torch.sigmoid(logits)
    return torch.from_numpy(np.asarray(expit(logits.detach().numpy())))


def check_texts(texts: Sequence[str], reads_text: bool) -> None:
    """Raise XMCError where one is no string, or is empty, which a row of sparse features may be."""
    if isinstance(texts, str):
        raise XMCError("expected a list of texts; wrap a single one: [text]")
    _check_no_table(texts)
    for i, text in enumerate(texts):
        if not isinstance(text, str) or not (text.strip() or not reads_text):
            _check_no_table(text)
            raise XMCError(f"text {i} is {text!r:.80}; expected a string with at least one word")


def _check_no_table(given: object) -> None:
    """A DataFrame and a dictionary would be taken for a list of their columns' names."""
    if isinstance(given, Mapping) or hasattr(given, "columns"):
        raise XMCError(
            f'expected texts, got a {type(given).__name__}; give the texts of a column: frame["text"].tolist(). '
            "Whole DataFrames are taken by XMCClassifier"
        )
