"""Which settings make a run smaller, by how much: each is estimated anew."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from xmc import factory
from xmc.config import TrainConfig, parse
from xmc.errors import XMCError
from xmc.estimate.counts import Counts
from xmc.estimate.memory import estimate

Values = Mapping[str, Any]  # dotted key -> value


@dataclass(frozen=True)
class Remedy:
    """overrides: as a user types them. needed: bytes of the run with them. saved: bytes."""

    overrides: str
    needed: int
    saved: int


def remedies(
    config: TrainConfig, counts: Counts, memory: int, devices: int = 1, most: int = 3
) -> tuple[list[Remedy], Remedy | None]:
    """The settings that save most, and those, most saving first, with which together the run fits; None: none do."""
    needed = estimate(config, counts, devices).needed
    tried = []
    for text, values in _candidates(config):
        changed = _changed(config, values, devices)
        if changed is not None and (new := estimate(changed, counts, devices).needed) < needed:
            tried.append((Remedy(text, new, needed - new), values))
    tried.sort(key=lambda pair: -pair[0].saved)
    return [remedy for remedy, _ in tried[:most]], _together(config, counts, memory, devices, needed, tried)


def _together(
    config: TrainConfig, counts: Counts, memory: int, devices: int, needed: int, tried: list[tuple[Remedy, Values]]
) -> Remedy | None:
    texts: list[str] = []
    best = needed
    for remedy, values in tried:
        changed = _changed(config, values, devices)
        if changed is None or (new := estimate(changed, counts, devices).needed) >= best:
            continue
        config, best = changed, new
        texts.append(remedy.overrides)
        if best <= memory:
            return Remedy(" ".join(texts), best, needed - best)
    return None


def _candidates(config: TrainConfig) -> Iterator[tuple[str, Values]]:
    """Overrides that may save memory, as text and as values."""
    size = config.trainer.micro_batch_size or config.trainer.batch_size
    for smaller in (size // 2, size // 8):
        if smaller:
            yield f"trainer.micro_batch_size={smaller}", {"trainer.micro_batch_size": smaller}
    for part in (config.classifier, config.sparsity, config.auxiliary, config.encoder):
        yield from part.remedies()


def _changed(config: TrainConfig, values: Values, devices: int) -> TrainConfig | None:
    """The configuration with these values; None where they do not go together, or several devices cannot share it."""
    dumped = config.model_dump()
    for key, value in values.items():
        *path, last = key.split(".")
        section = dumped
        for name in path:
            section = section[name]
        section[last] = value
    try:
        changed = parse(type(config), dumped)
        if devices > 1:
            factory.check_divisible(changed)
        return changed
    except XMCError:
        return None
