"""What `xmc tune` searches: few settings, those that have mattered most, around the recommended ones.

| setting | values |
|---|---|
| `classifier.optimizer.kind` | adamw, sgd |
| `classifier.optimizer.lr` | a quarter to four times the recommended; of the other optimizer .1 to 2, .001 to .02 |
| `classifier.fan_in` | half to four times the recommended |
| `encoder.width` (not of a transformer) | half to four times the recommended |
| `encoder.dropout` | 0 to 0.6 |
| `encoder.term_dropout`, of a transformer `encoder.lexical.term_dropout` | 0 to 0.4 |
| `encoder.bigrams` (of a bag) | none, the recommended, three times as many |
| `encoder.lr` (of a transformer) | a quarter to four times the recommended |
| `trainer.epochs` (without `trainer.max_steps`) | half to four times the recommended |
| `trainer.batch_size` | half to four times the recommended |
| `trainer.label_texts` (of texts) | false, true |

What a run was given is not searched; the kind of optimizer neither, where anything of it was given. The recommended
value is always among the values.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from xmc.config import TrainConfig, parse
from xmc.part import Choice, Range, Value, around
from xmc.parts.optimizer import OPTIMIZER

Values = Mapping[str, Value]
"""Of a run, by dotted key."""

KIND, RATE = "classifier.optimizer.kind", "classifier.optimizer.lr"


@dataclass(frozen=True)
class Dimension:
    """A key and its values. optimizer: of the classifier, with which alone there is such a key; None: always."""

    key: str
    values: Choice | Range
    optimizer: str | None = None

    @property
    def name(self) -> str:
        """Of its own: the learning rates of two optimizers have nothing in common."""
        return self.key if self.optimizer is None else f"{self.key} ({self.optimizer})"

    def applies(self, values: Values) -> bool:
        """Whether a run of these values has the key. The kind of optimizer is among them, if it is searched."""
        return self.optimizer is None or values.get(KIND, self.optimizer) == self.optimizer


@dataclass(frozen=True)
class Space:
    """Settings around `base`, the recommended ones. dimensions: the kind of optimizer before its rates."""

    base: TrainConfig
    dimensions: tuple[Dimension, ...]

    @property
    def recommended(self) -> dict[str, Value]:
        """The values of the base."""
        kind = {KIND: self.base.classifier.optimizer.kind}
        there = [d for d in self.dimensions if d.applies(kind)]
        return {d.key: _value_at(self.base.model_dump(), d.key) for d in there}

    def of(self, values: Values) -> list[Dimension]:
        """The dimensions that these are values of."""
        return [d for d in self.dimensions if d.key in values and d.applies(values)]

    def config(self, values: Values, **of_the_run: object) -> TrainConfig:
        """The base with these values, and keys such as run and seed.

        Raises:
            XMCError: the values do not go together.
        """
        dumped = self.base.model_dump()
        kind = values.get(KIND)
        if kind is not None and kind != self.base.classifier.optimizer.kind:
            dumped["classifier"]["optimizer"] = OPTIMIZER[str(kind)].model_validate({}).model_dump()
        for key, value in values.items():
            *path, last = key.split(".")
            _section(dumped, path)[last] = value
        return parse(TrainConfig, dumped | of_the_run)


def space_around(base: TrainConfig, fixed: Collection[str]) -> Space:
    """What is searched around a run's configuration. fixed: keys, and groups, that the user has given."""
    taken = {key.replace("/", ".") for key in fixed}
    if any(key.startswith("classifier.optimizer") for key in taken):
        taken.add(KIND)
    return Space(base, tuple(d for d in _dimensions(base, KIND in taken) if d.key not in taken))


def _dimensions(base: TrainConfig, kind_is_fixed: bool) -> Iterator[Dimension]:
    trainer, optimizer = base.trainer, base.classifier.optimizer
    yield Dimension(KIND, Choice(tuple(OPTIMIZER.names())))
    for kind in OPTIMIZER.names():
        if kind == optimizer.kind:
            yield Dimension(RATE, Range(optimizer.lr / 4, optimizer.lr * 4), kind)
        elif not kind_is_fixed:
            yield Dimension(RATE, Range(*OPTIMIZER[kind].rates), kind)
    for part in (base.classifier, base.encoder):
        yield from (Dimension(key, values) for key, values in part.searched())
    if trainer.max_steps is None:
        yield Dimension("trainer.epochs", Choice(tuple(trainer.epochs * f for f in (0.5, 1.0, 2.0, 4.0))))
    yield Dimension("trainer.batch_size", around(trainer.batch_size))
    if base.data.holds_text:
        yield Dimension("trainer.label_texts", Choice((False, True)))


def _value_at(values: Mapping[str, Any], key: str) -> Any:
    *path, last = key.split(".")
    return _section(values, path)[last]


def _section(values: Any, path: list[str]) -> Any:
    for name in path:
        values = values[name]
    return values
