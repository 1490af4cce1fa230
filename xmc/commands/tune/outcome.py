"""How a study ends: a table of its trials, an experiment in YAML, and the command to paste."""

import functools
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

import yaml

from xmc.commands.tune.halving import RUNGS, Trial, by_seed
from xmc.commands.tune.space import Values
from xmc.config import TrainConfig
from xmc.config.arguments import as_override
from xmc.config.choices import registries
from xmc.config.compose import compose
from xmc.config.shell import shell_argument
from xmc.section import Section, named

SHOWN = 10
_APART = ("run", "resume", "data")


def differences(values: Values, recommended: Values) -> str:
    """The values that are not the recommended ones, as overrides."""
    changed = [f"{key}={_short(value)}" for key, value in values.items() if recommended.get(key) != value]
    return " ".join(changed) or "as recommended"


def table(trials: Sequence[Trial], recommended: Values, metric: str) -> str:
    """The best trials, those that got further first, and the recommended settings, in Markdown; scores in percent."""
    tried = [trial for trial in trials if trial.repeats is None and trial.scores]
    ranked = sorted(tried, key=lambda t: (-len(t.scores), -_mean(trials, t), t.number))
    shown = ranked[:SHOWN] + [trial for trial in ranked[SHOWN:] if trial.number == 0]
    rungs = " | ".join(f"{fraction:g}" for fraction in RUNGS)
    lines = [
        f"dev {metric}, percent, at these fractions of a run, and the mean over seeds",
        "",
        f"| trial | {rungs} | mean | seeds | seconds | settings |",
        "|---|" + "---|" * (len(RUNGS) + 4),
    ]
    for trial in shown:
        scores = " | ".join(f"{100 * s:.2f}" for s in trial.scores) + " | " * (len(RUNGS) - len(trial.scores))
        seeds = by_seed(trials, trial)
        of_all = f"{100 * mean(seeds.values()):.2f}" if seeds else ""
        told = differences(trial.values, recommended)
        lines.append(
            f"| {trial.number} | {scores} | {of_all} | {len(seeds) or ''} | {sum(trial.seconds):.0f} | {told} |"
        )
    return "\n".join(lines)


class Recipe:
    """A configuration as overrides of `conf/`: the data, choices of groups, and the single keys that differ then."""

    def __init__(self, config: TrainConfig) -> None:
        values = config.model_dump(mode="json")
        benchmark = values["data"].get("benchmark")
        self.data = {"data": benchmark["name"] if benchmark else values["data"]["kind"]}
        named = {"data.root": values["data"]["root"]} if "root" in values["data"] else {}
        plain = _composed(self.data | named)["data"]
        self.data |= named | _differing(values["data"], plain, "data.")
        groups = [registry.group for registry in registries() if registry.group not in _APART]
        needed = {key: value for group in groups for key, value in _needed(config, group).items()}
        plain = _composed(self.data)
        self.choices = {g: kind for g in groups if (kind := _kind_at(values, g)) != _kind_at(plain, g)}
        plain = _composed(self.data | self.choices | needed)
        self.keys = needed | _differing(values, plain)

    def command(self, run: str) -> str:
        """`xmc train ...`, to be pasted into a shell."""
        overrides = self.data | {"run": run} | self.choices | self.keys
        return " ".join(["xmc train", *(shell_argument(key, value) for key, value in overrides.items())])

    def experiment(self, told: str) -> str:
        """The same as a choice of the group `experiment`. told: a line about it."""
        lines = ["# @package _global_", f"# {told}"]
        defaults = [{f"override /{group}": kind} for group, kind in self.choices.items()]
        sections: dict[str, Any] = {"defaults": defaults} if defaults else {}
        for key, value in self.keys.items():
            *path, last = key.split(".")
            section = sections
            for name in path:
                section = section.setdefault(name, {})
            section[last] = value
        return "\n".join([*lines, yaml.safe_dump(sections, sort_keys=False, allow_unicode=True)])


def _mean(trials: Sequence[Trial], trial: Trial) -> float:
    return mean(by_seed(trials, trial).values()) if trial.finished else trial.scores[-1]


def _needed(config: TrainConfig, group: str) -> dict[str, Any]:
    """What a part has no default for, by dotted key."""
    part: Section = functools.reduce(getattr, group.split("/"), config)
    path = group.replace("/", ".")
    return {f"{path}.{key}": getattr(part, key) for key, field in named(type(part)).items() if field.is_required()}


def _composed(overrides: Mapping[str, object]) -> dict[str, Any]:
    return compose([as_override(key, value) for key, value in overrides.items()])


def _kind_at(values: Mapping[str, Any], group: str) -> Any:
    for name in group.split("/"):
        values = values.get(name, {})
    return values.get("kind")


def _differing(values: Mapping[str, Any], plain: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values that are not plain, by dotted key; but for what names the run and its data, and kinds, which are
    choices."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if (key := prefix + name) in _APART or name == "kind" or value == plain.get(name, ...):
            continue
        inner = plain.get(name)
        found |= _differing(value, inner, f"{key}.") if isinstance(inner, Mapping) else {key: value}
    return found


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)
