"""What a saved model knows of its own scores: logits to probabilities, and from where on a label is assigned."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

THRESHOLDS = "thresholds.safetensors"


@dataclass(frozen=True, slots=True)
class Calibration:
    """Fitted to a dev split's pairs of a document and one of its k best labels; `xmc calibrate` makes one.

    probability = sigmoid(scale * logit + shift), scale above 0. threshold: the probability from which on a label is
    assigned. own: float32 [L] where labels have thresholds of their own, `threshold` for those that have not.
    """

    scale: float
    shift: float
    k: int
    threshold: float
    own: Tensor | None = None

    def logits(self, logits: Tensor) -> Tensor:
        """Log-odds, float64 like logits; float64 tells apart whatever float32 did, so that no ranking changes."""
        return self.scale * logits.double() + self.shift

    def probability(self, logits: Tensor) -> Tensor:
        """Calibrated probabilities, float64 like logits."""
        return torch.sigmoid(self.logits(logits))

    def thresholds(self, labels: Tensor) -> Tensor:
        """The threshold of each of these labels, float64, like labels. A label of -1, none, has that of any other."""
        if self.own is None:
            return torch.full(labels.shape, self.threshold, dtype=torch.float64, device=labels.device)
        return self.own.to(labels.device)[labels].double()

    def with_more(self, labels: int) -> Self:
        """Of a model with so many more labels; these take the threshold for all."""
        if self.own is None:
            return self
        return replace(self, own=torch.cat([self.own, self.own.new_full((labels,), self.threshold)]))

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the thresholds of single labels, where there are any, and return the rest for the model's card."""
        if self.own is not None:
            save_file({"thresholds": self.own}, folder / THRESHOLDS)
        return asdict(replace(self, own=None)) | {"own": self.own is not None}

    @classmethod
    def load(cls, folder: Path, card: dict[str, Any]) -> Self:
        """What `save` wrote."""
        own = load_file(folder / THRESHOLDS)["thresholds"] if card["own"] else None
        return cls(**card | {"own": own})
