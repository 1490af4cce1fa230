"""The coordinate check: how far a few steps at a constant rate move the logits, at one fan-in and another.

Under a parametrization that transfers hyper-parameters the curve is flat (Yang et al., arXiv 2203.03466, appendix D;
for sparse layers Dey et al., arXiv 2405.15743, section 4).
"""

import copy
import itertools
import logging
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from xmc import factory
from xmc.config import TrainConfig
from xmc.data.corpus import Corpus
from xmc.errors import XMCError
from xmc.model import XMCModel
from xmc.model.classifier import FixedFanIn
from xmc.ops.fan_in import fan_in_linear
from xmc.parts.auxiliary import NoAuxiliary
from xmc.parts.parametrization import ParametrizationSection, Standard
from xmc.train.step import clip_gradients, compute_gradients

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Point:
    """Mean |change of a logit|, one number a seed."""

    parametrization: str
    fan_in: int
    changes: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.changes)


def coordinate_check(
    config: TrainConfig,
    corpus: Corpus,
    device: torch.device,
    *,
    fan_ins: Sequence[int],
    seeds: Sequence[int],
    steps: int,
    labels: int,
) -> Iterator[Point]:
    """One point for each parametrization and fan-in, as they are measured; each starts from the same encoder.

    labels: so many of the first are looked at.
    """
    torch.manual_seed(config.seed)
    encoder = factory.build_encoder(config, corpus)
    for rules in (Standard(), config.parametrization):
        for fan_in in fan_ins:
            changes = tuple(
                _change(
                    factory.build_training(
                        _variant(config, fan_in, seed, rules), corpus, device, encoder=copy.deepcopy(encoder)
                    ),
                    *(device, steps, labels),
                )
                for seed in seeds
            )
            point = Point(rules.kind, fan_in, changes)
            logger.info("%-9s K = %-4d mean |logit change| %.4f", rules.kind, fan_in, point.mean)
            yield point


def drift(points: list[Point], parametrization: str) -> float:
    """The largest mean change over the smallest: 1 is flat."""
    means = [point.mean for point in points if point.parametrization == parametrization]
    return max(means) / min(means)


def table(points: list[Point]) -> str:
    """A row a parametrization, a column a fan-in."""
    fan_ins = list(dict.fromkeys(point.fan_in for point in points))
    lines = ["| mean change of a logit | " + " | ".join(f"K = {k}" for k in fan_ins) + " | largest / smallest |"]
    lines.append("|" + "---|" * (len(fan_ins) + 2))
    for name in dict.fromkeys(point.parametrization for point in points):
        means = [f"{point.mean:.4f}" for point in points if point.parametrization == name]
        lines.append(f"| {name} | " + " | ".join(means) + f" | {drift(points, name):.2f} |")
    return "\n".join(lines)


def plot(points: list[Point], path: Path) -> None:
    """Change against fan-in, both axes logarithmic, with the spread over seeds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 3.4), layout="constrained")
    for name in dict.fromkeys(point.parametrization for point in points):
        mine = [point for point in points if point.parametrization == name]
        fan_ins = [point.fan_in for point in mine]
        axes.loglog(fan_ins, [point.mean for point in mine], marker="o", label=name)
        low, high = ([limit(point.changes) for point in mine] for limit in (min, max))
        axes.fill_between(fan_ins, low, high, alpha=0.2)
    axes.set(xlabel="fan-in K", ylabel="mean |change of a logit|", xticks=fan_ins, xticklabels=fan_ins)
    axes.minorticks_off()
    axes.legend()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _variant(config: TrainConfig, fan_in: int, seed: int, rules: ParametrizationSection) -> TrainConfig:
    """The same run with another fan-in, seed and parametrization, at a constant rate, the main objective alone."""
    if (classifier := config.classifier.with_fan_in(fan_in)) is None:
        raise XMCError(
            "the coordinate check varies the fan-in of all labels; take classifier=fixed_fan_in classifier.head=0"
        )
    return config.model_copy(
        update={
            "seed": seed,
            "parametrization": rules,
            "auxiliary": NoAuxiliary(),
            "classifier": classifier,
            "trainer": config.trainer.model_copy(update={"schedule": "constant", "warmup": 0.0}),
        }
    )


def _change(training: factory.Training, device: torch.device, steps: int, labels: int) -> float:
    """Mean |change| of the logits of the first batch's features, as they were before the first step.

    All parts learn; but the features' own change is left out, since the fan-in has little say in it.
    """
    state, probe = training.state, next(iter(training.batches.epoch(0))).to(device)
    with torch.no_grad():
        features_BD = state.model.eval().features_of(probe).float()
    before = _logits(state.model, features_BD, labels)
    batches = itertools.chain.from_iterable(training.batches.epoch(epoch) for epoch in itertools.count())
    for batch in itertools.islice(batches, steps):
        state.model.train()
        compute_gradients(
            *(state.model, state.auxiliary, batch),
            auxiliary_weight=0.0,
            micro_batch_size=training.plan.micro_batch_size,
            update=state.optimizers.in_place_update,
        )
        clip_gradients(state.model, training.plan.clip_norm)
        state.optimizers.step()
    return float((_logits(state.model, features_BD, labels) - before).abs().mean())


@torch.no_grad()
def _logits(model: XMCModel, features_BD: Tensor, labels: int) -> Tensor:
    """Of the first labels, in whole groups."""
    classifier = model.classifier
    assert isinstance(classifier, FixedFanIn)
    layer = classifier.connections
    first = layer.part(slice(0, -(-labels // layer.group_size)))
    return fan_in_linear(features_BD, first, backend=classifier.backend).clone()
