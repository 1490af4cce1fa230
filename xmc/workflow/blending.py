"""Several rankings of the same labels, and what each is worth on dev."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from xmc.config import FinetuneConfig, TrainConfig
from xmc.data.corpus import Split
from xmc.data.files import listing
from xmc.data.scores import read_scores
from xmc.errors import XMCError
from xmc.evaluate import Report
from xmc.evaluate.metrics import leave_out
from xmc.model import DEPTH, Member, ScoreFiles, XMCModel
from xmc.types import TopK
from xmc.workflow.predicting import most_left_out, without

logger = logging.getLogger(__name__)

_FITTED = 20_000  # dev documents, at most, that the weights are fitted to
KS = (1, 3, 5)
_SHOWN = (*(f"P@{k}" for k in KS), "nDCG@5", *(f"PSP@{k}" for k in KS))


def checked_data(trained: Mapping[str, TrainConfig]) -> TrainConfig:
    """The configuration of the first run. Raises XMCError where another has learned from other data."""
    (first, config), *others = trained.items()
    for folder, other in others:
        one, two = _data_of(config), _data_of(other)
        if wrong := [key for key in {**one, **two} if one.get(key) != two.get(key)]:
            told = "; ".join(f"data.{key}: {one.get(key)!r:.80} and {two.get(key)!r:.80}" for key in wrong)
            raise XMCError(
                f"{first} and {folder} have other data ({told}); blend runs of the same, and where it has moved since, "
                "say to where: data.root=..."
            )
    return config


def _data_of(config: TrainConfig) -> dict[str, Any]:
    """What decides which documents a run has, and how they are read."""
    values = config.data.model_dump(mode="json", exclude={"cache_dir", "processes"})
    if isinstance(config, FinetuneConfig) and config.replay is not None:
        values |= config.model_dump(mode="json", include={"replay", "replay_fraction", "old_data"})
    return values


def check_labels(models: Mapping[str, XMCModel]) -> None:
    (first, model), *others = models.items()
    for folder, other in others:
        if other.label_ids != model.label_ids:
            one, two = set(model.label_ids), set(other.label_ids)
            told = f"one of them alone has {listing(one ^ two, 5)}" if one != two else "in another order"
            raise XMCError(f"{first} and {folder} have other labels ({told}); blend runs of the same labels")


def read_dev(scores: Mapping[str, ScoreFiles], dev: Split, label_ids: Sequence[str]) -> dict[str, TopK]:
    """What other tools gave for dev, as it stands in their files.

    Raises:
        XMCError: a file is not there, or is not of these documents and labels.
    """
    if missing := [path for of in scores.values() for path in of.files.values() if not Path(path).is_file()]:
        raise XMCError(f"scores: there is no file {listing(missing)}")
    depth = DEPTH + most_left_out(dev.filter)
    return {name: read_scores(of.files["dev"], dev.ids, label_ids, depth) for name, of in scores.items()}


def scaled(files: ScoreFiles, dev: TopK) -> ScoreFiles:
    """With scores from 0 to 1, as far as dev tells."""
    return replace(files, scale=1 / max(1.0, float(dev.scores.max())))


def rankings_of(members: Sequence[Member], of_tools: Mapping[str, TopK], dev: Split, batch_size: int) -> list[TopK]:
    """What each member gives for dev. of_tools: see `read_dev`."""
    depth, rankings = DEPTH + most_left_out(dev.filter), []
    for member in members:
        logger.info("dev by %s", member.name)
        if isinstance(member.ranker, ScoreFiles):
            rankings.append(member.ranker.scaled(of_tools[member.name]))
        else:
            rankings.append(member.ranker.ranking(dev.texts, depth, batch_size))
    return rankings


def fitted_to(rankings: Sequence[TopK], dev: Split) -> tuple[list[tuple[Any, Any]], csr_matrix]:
    """What the weights are fitted to: lists of labels and scores, and truth, of drawn documents where dev has many."""
    chosen = np.sort(np.random.default_rng(0).permutation(len(dev))[:_FITTED])
    if len(chosen) < len(dev):
        logger.info("weights are fitted to %d of %d dev documents", len(chosen), len(dev))
    lists, truth = [], dev.labels
    if (pairs := dev.filter_pairs) is not None:
        truth = csr_matrix(leave_out(rankings[0].labels.numpy(), truth, pairs)[1])
    for top in (alone(ranking, dev) for ranking in rankings):
        lists.append((top.labels.numpy()[chosen], top.scores.numpy()[chosen]))
    return lists, truth[chosen]


def alone(ranking: TopK, documents: Split) -> TopK:
    """The ranking without the labels that evaluation leaves out."""
    return ranking if documents.filter is None else without(ranking, documents.filter, DEPTH)


def recorded(members: Sequence[Member], alone: Sequence[Report]) -> list[dict[str, Any]]:
    """As plain JSON values."""
    pairs = zip(members, alone, strict=True)
    return [{"name": one.name, "weight": one.weight, "metrics": dict(report.metrics)} for one, report in pairs]


def table(members: Sequence[Member], alone: Sequence[Report], blend: Report) -> str:
    """Each ranking's weight and its figures on dev, in percent, then the blend's, and what it costs rare labels."""
    rows = [(one.name, f"{one.weight:.3f}", report) for one, report in zip(members, alone, strict=True)]
    width = max(len("blend"), *(len(name) for name, _, _ in rows))
    lines = [f"{'dev':<{width}}{'weight':>8}" + "".join(f"{metric:>8}" for metric in _SHOWN)]
    for name, weight, report in [*rows, ("blend", "", blend)]:
        lines.append(f"{name:<{width}}{weight:>8}" + "".join(f"{100 * report[metric]:8.2f}" for metric in _SHOWN))
    best, _, best_alone = max(rows, key=lambda row: row[2]["nDCG@5"])
    changes = (f"{name} {100 * (blend[name] - best_alone[name]):+.2f}" for name in _SHOWN if name.startswith("PSP"))
    return "\n".join([*lines, f"the blend against {best}, the best alone: {', '.join(changes)}"])
