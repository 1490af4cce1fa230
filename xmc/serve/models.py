"""The models that are served: found in a folder, loaded, and taken over anew where their folder has changed."""

import logging
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any

from xmc.errors import XMCError, said
from xmc.model import Blend, Prediction, Threshold, XMCModel
from xmc.model.bag import BagModel, EmbeddingBag
from xmc.model.classifier import FixedFanIn
from xmc.model.intermediate import Identity
from xmc.model.saved import CARD, is_blend

logger = logging.getLogger(__name__)

_WARM_UP = 64  # label names that a new model predicts before it answers

Stamp = tuple[tuple[str | int, ...], ...]


class UnknownModel(Exception):
    """There is no model of that name."""


@dataclass(frozen=True, eq=False, slots=True)
class Served:
    """A model that answers. together: whether it reads the texts of a batch together, or one by one."""

    name: str
    model: XMCModel | Blend
    trained: datetime
    together: bool

    @property
    def threshold(self) -> float | None:
        """The calibrated one for all labels, or for those without their own."""
        calibration = None if isinstance(self.model, Blend) else self.model.calibration
        return None if calibration is None else calibration.threshold

    @property
    def own_thresholds(self) -> bool:
        """Whether labels have thresholds of their own."""
        calibration = None if isinstance(self.model, Blend) else self.model.calibration
        return calibration is not None and calibration.own is not None

    @property
    def kind(self) -> str:
        return "blend" if isinstance(self.model, Blend) else self.model.classifier.kind

    @property
    def reads_text(self) -> bool:
        """Whether documents are texts, and not rows of sparse features."""
        return self.model.encoder.reads_text

    @property
    def explains(self) -> bool:
        return hasattr(self.model, "explain")


@dataclass(frozen=True, slots=True)
class Suggest:
    """The best labels of texts, as `XMCModel.predict` gives them."""

    served: Served
    k: int | None
    threshold: Threshold

    def __call__(self, texts: Sequence[str]) -> list[list[Prediction]]:
        size = len(texts) if self.served.together else 1
        return self.served.model.predict(texts, self.k, size, self.threshold)


@dataclass(frozen=True, slots=True)
class Explain:
    """What speaks for and against labels in texts, as `XMCModel.explain` tells it."""

    served: Served
    labels: tuple[str, ...]

    def __call__(self, texts: Sequence[str]) -> list[Any]:
        model: Any = self.served.model
        return [model.explain(text, labels=list(self.labels)) for text in texts]


@dataclass
class Models:
    """root: a run, a saved model, or a folder that holds several of these. together: read texts of a batch together
    even where a text's last bits then depend on the others.
    """

    root: Path
    device: str
    together: bool = False
    failures: dict[str, str] = field(default_factory=dict, init=False)
    _served: dict[str, Served] = field(default_factory=dict, init=False)
    _seen: dict[str, Stamp] = field(default_factory=dict, init=False)
    _loading: Lock = field(default_factory=Lock, init=False)

    def load(self) -> None:
        """Load all.

        Raises:
            XMCError: there is none, or one cannot be used.
        """
        folders = _folders(self.root)
        if not folders:
            raise XMCError(
                f"{self.root} holds no model ({CARD} is missing); give the folder of a finished run or of a saved "
                "model, or one that holds several"
            )
        for name, folder in folders.items():
            self._seen[name] = _stamp(folder)
            self._served[name] = self._loaded(name, folder)

    def __iter__(self) -> Iterator[Served]:
        return iter(self._served.values())

    def get(self, name: str | None) -> Served:
        """The model of that name; None: the only one.

        Raises:
            UnknownModel: there is none, or there are several to choose from.
        """
        if name is None and len(self._served) == 1:
            return next(iter(self._served.values()))
        if name is None:
            raise UnknownModel(f"there are several models: {self._names()}; name one as model")
        if (found := self._served.get(name)) is None:
            raise UnknownModel(f"there is no model {name!r:.80}; there is {self._names()}")
        return found

    def reload(self, *, changed_only: bool) -> list[str]:
        """Take over the folders that have changed, or all; a model that cannot be used leaves the old one answering.

        It takes as long as loading does, and is for a thread of its own. Returns the names of the new ones.
        """
        with self._loading:
            taken = []
            for name, folder in _folders(self.root).items():
                try:
                    stamp = _stamp(folder)
                    if changed_only and stamp == self._seen.get(name):
                        continue
                    self._seen[name] = stamp
                    self._served[name] = self._loaded(name, folder)
                except FileNotFoundError:  # it is being replaced
                    continue
                except Exception as error:  # whatever is wrong with it, the old one goes on
                    self.failures[name] = said(error)
                    logger.error("%s: the new model cannot be used, the old one stays: %s", name, said(error))
                else:
                    self.failures.pop(name, None)
                    taken.append(name)
            return taken

    def _loaded(self, name: str, folder: Path) -> Served:
        started = time.perf_counter()
        trained = datetime.fromtimestamp((folder / CARD).stat().st_mtime, UTC)
        model: XMCModel | Blend
        if is_blend(folder):
            model = Blend.from_pretrained(folder, device=self.device)
            model.check_new_texts()
        else:
            model = XMCModel.from_pretrained(folder, device=self.device)
        served = Served(name, model, trained, self.together or independent(model))
        _warm_up(served)
        seconds = time.perf_counter() - started
        logger.info("%s: %s labels, ready after %.1f s", name, f"{len(model.label_ids):,}", seconds)
        return served

    def _names(self) -> str:
        return ", ".join(sorted(self._served))


def independent(model: XMCModel | Blend) -> bool:
    """Whether a document's scores are the same bits whatever stands beside it in a batch.

    Our own kernels on the CPU see to that. Products of dense matrices are rounded by their shape, and a transformer
    pads a batch to its longest document.
    """
    if isinstance(model, Blend):
        return all(isinstance(member.ranker, XMCModel) and independent(member.ranker) for member in model.members)
    backbone, classifier = model.encoder.backbone, model.classifier
    return (
        isinstance(backbone, EmbeddingBag)
        and not (isinstance(backbone, BagModel) and backbone.mlp is not None)
        and isinstance(model.intermediate, Identity)
        and isinstance(classifier, FixedFanIn)
        and classifier.serving == "numba"
    )


def _folders(root: Path) -> dict[str, Path]:
    """The models at or in a folder, by name."""
    if (own := _model_at(root)) is not None:
        place = Path(os.path.abspath(root))
        return {(place.parent if place.name == "model" else place).name or "model": own}
    inside = sorted(path for path in root.iterdir() if not path.name.startswith(".")) if root.is_dir() else []
    found = {path.name: _model_at(path) for path in inside}
    return {name: folder for name, folder in found.items() if folder is not None}


def _model_at(folder: Path) -> Path | None:
    return next((path for path in (folder, folder / "model") if (path / CARD).is_file()), None)


def _stamp(folder: Path) -> Stamp:
    """Other than before once a file of the folder is, also while one is copied there bit by bit."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    found = [(str(path.relative_to(folder)), path.stat()) for path in files]
    return tuple((name, stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size) for name, stat in found)


def _warm_up(served: Served) -> None:
    """Compile what is compiled on first use, and read the weights into memory.

    Raises:
        XMCError: the model cannot predict.
    """
    texts = [name for name in islice(served.model.label_names, _WARM_UP) if name.strip()] or ["a text"]
    if not served.reads_text:
        texts = ["0:1"]
    suggest = Suggest(served, None, None)
    for some in (texts[:1], texts):
        suggest(some)
