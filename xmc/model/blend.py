"""Several rankings of the same labels as one model, and its folder on disk."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from xmc.errors import XMCError
from xmc.model.card import BlendCard, ModelCard, NeighboursCard, ScoresCard
from xmc.model.encoder import Encoder
from xmc.model.explanation.explain import Explanation, explain_blend
from xmc.model.label_file import read_labels, write_labels
from xmc.model.model import XMCModel
from xmc.model.neighbours import Neighbours
from xmc.model.prediction import DEFAULT_K, Prediction, Threshold, check_texts, predictions, sigmoid
from xmc.model.rankings import blended
from xmc.model.saved import CARD, FORMAT_VERSION, LABELS, read_blend_card
from xmc.model.seal import seal_checked, sealed
from xmc.model.tensor_file import ANEW, TensorFile
from xmc.storage import whole_file
from xmc.types import TopK

DEPTH = 100  # labels of each ranking, at least
_MODELS, _NEIGHBOURS = "models", "neighbours.safetensors"


class Ranker(Protocol):
    """What ranks labels for texts; an `XMCModel` does."""

    def ranking(self, texts: Sequence[str], k: int, batch_size: int = 64) -> TopK:
        """The k best labels of each text with scores from 0 to 1, [N, k], on the CPU; the tail is 0 and -1."""


@dataclass(frozen=True, slots=True)
class NearestDocuments:
    """Ranks by the training documents nearest in the features of a model."""

    model: XMCModel
    neighbours: Neighbours

    def ranking(self, texts: Sequence[str], k: int, batch_size: int = 64) -> TopK:
        starts = range(0, len(texts), batch_size)
        features = (self.model.embed(texts[start : start + batch_size], batch_size) for start in starts)
        return TopK.cat([self.neighbours.rank(features_BD, k) for features_BD in features])


@dataclass(frozen=True, slots=True)
class ScoreFiles:
    """What another tool has ranked. files: by split. scale: what its scores are multiplied by."""

    files: Mapping[str, str]
    scale: float = 1.0

    def ranking(self, texts: Sequence[str], k: int, batch_size: int = 64) -> TopK:
        raise XMCError("a file of scores knows the documents of its split alone")

    def scaled(self, top: TopK) -> TopK:
        return TopK(top.scores * self.scale, top.labels)


@dataclass(frozen=True, slots=True)
class Member:
    """A ranking, and what it counts for."""

    name: str
    weight: float
    ranker: Ranker


class Blend:
    """Rankings of the same labels, blended: a label's probability is the weighted sum of theirs.

    A saved blend is a folder: `models/0/`, ... in the layout of `XMCModel`, `neighbours.safetensors` where there are
    such, `labels.jsonl`, and `xmc.json`, which says what each ranking is and counts for.

    members: of weights above 0 and sum 1.
    """

    def __init__(self, members: Sequence[Member], label_ids: Sequence[str], label_names: Sequence[str]) -> None:
        self.members = members
        self.label_ids = label_ids
        self.label_names = label_names

    @property
    def models(self) -> list[XMCModel]:
        """Each model once."""
        rankers = [member.ranker for member in self.members]
        found = (ranker.model if isinstance(ranker, NearestDocuments) else ranker for ranker in rankers)
        return list(dict.fromkeys(model for model in found if isinstance(model, XMCModel)))

    @property
    def encoder(self) -> Encoder:
        """One that reads documents as all do.

        Raises:
            XMCError: the blend cannot rank new texts.
        """
        self.check_new_texts()
        return self.models[0].encoder

    def names_above(self, label: int) -> list[str]:
        """As of the models that are blended."""
        return self.models[0].names_above(label) if self.models else []

    def check_new_texts(self) -> None:
        """Raise XMCError where a ranking is known of some documents alone."""
        if names := [member.name for member in self.members if isinstance(member.ranker, ScoreFiles)]:
            raise XMCError(
                f"the blend has scores of another tool ({', '.join(names)}), which knows no new text; blend runs and "
                "neighbours alone, or measure this one with xmc evaluate"
            )

    def rank(self, texts: Sequence[str], k: int, given: Mapping[str, TopK] | None = None, batch_size: int = 64) -> TopK:
        """The k best labels of each text, on the CPU; scores are the logits of their probabilities.

        given: rankings of these texts, [N, m], by the names of members.

        Raises:
            XMCError: see `XMCModel.predict`; or a file of scores is not among those given.
        """
        given = given or {}
        lists = []
        for member in self.members:
            known = given.get(member.name)
            top = member.ranker.ranking(texts, max(k, DEPTH), batch_size) if known is None else known
            lists.append(TopK(top.scores.double() * member.weight, top.labels))
        return blended(lists, k)

    def probability(self, logits: torch.Tensor) -> torch.Tensor:
        return sigmoid(logits)

    def default_k(self, threshold: Threshold) -> int:
        """How many labels a list has at most, where nobody says."""
        if threshold == "auto":
            raise XMCError("a blend has no thresholds of its own; give a number from 0 to 1 as the threshold")
        return DEFAULT_K

    def predict(
        self, texts: Sequence[str], k: int | None = None, batch_size: int = 64, threshold: Threshold = None
    ) -> list[list[Prediction]]:
        """As `XMCModel.predict`.

        Raises:
            XMCError: as there; or a ranking is known of some documents alone.
        """
        self.check_new_texts()
        check_texts(texts, self.encoder.reads_text)
        if not texts:
            return []
        most = self.default_k(threshold) if k is None else k
        top = self.rank(texts, most, batch_size=batch_size)
        least = 0.0 if threshold is None else float(threshold)
        probabilities = self.probability(top.scores)
        suggested = (top.labels >= 0) & (probabilities.double() >= least)
        return list(predictions(self, top.labels, probabilities, top.scores, suggested))

    def explain(self, text: str, labels: Sequence[str]) -> list[Explanation]:
        """As `XMCModel.explain`; what the nearest documents say is part of the base, since no word says it.

        Raises:
            XMCError: as there; or a ranking is known of some documents alone.
        """
        check_texts([text], self.encoder.reads_text)
        depth = max(DEPTH, len(labels))
        rankings = [
            (one.ranker if isinstance(one.ranker, XMCModel) else None, one.weight, one.ranker.ranking([text], depth))
            for one in self.members
        ]
        return explain_blend(text, labels, self.label_ids, rankings)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the blend's folder, created if missing. Its card is the last file to come."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CARD).unlink(missing_ok=True)
        shutil.rmtree(folder / _MODELS, ignore_errors=True)
        (folder / _NEIGHBOURS).unlink(missing_ok=True)
        models = self.models
        for number, model in enumerate(models):
            model.save_pretrained(folder / _MODELS / str(number))
        write_labels(folder / LABELS, self.label_ids, self.label_names)
        files = [folder / LABELS, *(folder / _MODELS / str(number) / CARD for number in range(len(models)))]
        for ranker in (member.ranker for member in self.members):
            if isinstance(ranker, NearestDocuments):
                ranker.neighbours.save(folder / _NEIGHBOURS)
                shutil.copymode(folder / LABELS, folder / _NEIGHBOURS)
                files.append(folder / _NEIGHBOURS)
        card = {
            "format_version": FORMAT_VERSION,
            "kind": "blend",
            "models": len(models),
            "members": [_member_card(member, models) for member in self.members],
        }
        with whole_file(folder / CARD) as out:
            out.write(json.dumps(sealed(card, folder, files), indent=2) + "\n")

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, device: str = "cpu") -> "Blend":
        """Read a blend's folder.

        Raises:
            XMCError: the folder is no blend, is of a later format, or its parts do not belong together.
        """
        folder = Path(folder)
        card = read_blend_card(folder)
        with seal_checked(folder / CARD):
            return cls._assembled(folder, card, device)

    @classmethod
    def _assembled(cls, folder: Path, card: BlendCard, device: str) -> "Blend":
        if abs(sum(member.weight for member in card.members) - 1) > 1e-6:
            raise XMCError(f"{folder / CARD}: the weights are {[m.weight for m in card.members]}, not of sum 1; {ANEW}")
        models = []
        for number in range(card.models):
            path = folder / _MODELS / str(number)
            if not (path / CARD).is_file():
                raise XMCError(f"{folder} is not whole: {path.relative_to(folder)} is missing; copy the model again")
            models.append(XMCModel.from_pretrained(path, device=device))
        label_ids, label_names = read_labels(folder / LABELS, len(models[0].label_ids) if models else None)
        if any(model.label_ids != label_ids for model in models):
            raise XMCError(f"{folder}: its models have other labels than {LABELS}; {ANEW}")
        members = [Member(m.name, m.weight, _ranker(m, folder, models, len(label_ids))) for m in card.members]
        return cls(members, label_ids, label_names)


def _member_card(member: Member, models: Sequence[XMCModel]) -> dict[str, Any]:
    card: dict[str, Any] = {"name": member.name, "weight": member.weight}
    match member.ranker:
        case XMCModel() as model:
            return card | {"kind": "model", "model": models.index(model)}
        case NearestDocuments(model, neighbours):
            return card | {"kind": "neighbours", "model": models.index(model), "nearest": neighbours.nearest}
        case ScoreFiles(files, scale):
            return card | {"kind": "scores", "files": dict(files), "scale": scale}
    raise TypeError(f"no card of {type(member.ranker).__name__}")


def _ranker(
    card: ModelCard | NeighboursCard | ScoresCard, folder: Path, models: Sequence[XMCModel], num_labels: int
) -> Ranker:
    if isinstance(card, ScoresCard):
        return ScoreFiles(card.files, card.scale)
    if card.model >= len(models):
        raise XMCError(f"{folder / CARD}: {card.name} is of model {card.model}, and there are {len(models)}; {ANEW}")
    model = models[card.model]
    if isinstance(card, ModelCard):
        return model
    width = model.classifier.in_features
    return NearestDocuments(model, Neighbours.load(TensorFile(folder / _NEIGHBOURS), card.nearest, width, num_labels))
