"""What a saved model knows of its own scores: logits to probabilities, and from where on a label is assigned."""

import hashlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import save
from torch import Tensor

from xmc.errors import XMCError
from xmc.model.card import CalibrationCard
from xmc.model.prediction import sigmoid
from xmc.model.tensor_file import TensorFile, fill
from xmc.storage import whole_file

_THRESHOLDS = "thresholds.safetensors"  # of formats 2 and 3


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
        return sigmoid(self.logits(logits))

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
        """Write the thresholds of single labels, where there are any, and return the rest for the model's card.

        The card names their file, whose name follows its content: until there is a new card, the old one has the old.
        """
        name: str | bool = False
        if self.own is not None:
            content = save({"thresholds": self.own.cpu().contiguous()})
            name = f"thresholds-{hashlib.sha256(content).hexdigest()[:16]}.safetensors"
            with whole_file(folder / name, "wb") as out:
                out.write(content)
        return asdict(replace(self, own=None)) | {"own": name}

    @classmethod
    def load(cls, folder: Path, card: CalibrationCard, num_labels: int) -> Self:
        """What `save` wrote.

        Raises:
            XMCError: the thresholds of labels are not one a label, each a probability or infinite, where it is silent.
        """
        own = None
        if card.own:
            file = TensorFile(folder / (_THRESHOLDS if card.own is True else card.own))
            own = torch.empty(num_labels)
            fill({"thresholds": own}, file, finite=False)
            if not (((own >= 0) & (own <= 1)) | (own == torch.inf)).all():
                raise XMCError(f"{file.path} has a threshold that is no probability; calibrate anew: xmc calibrate")
        return cls(card.scale, card.shift, card.k, card.threshold, own)
