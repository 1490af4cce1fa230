"""Which settings make a run smaller, by how much: each is estimated anew."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from xmc.config import TrainConfig, parse
from xmc.errors import XMCError
from xmc.estimate.counts import Counts
from xmc.estimate.memory import estimate

Values = Mapping[str, Any]  # dotted key -> value
_IN_PLACE = {"kind": "sgd", "lr": 0.3, "weight_decay": 0.0, "momentum": 0.0}


@dataclass(frozen=True)
class Remedy:
    """overrides: as a user types them. needed: bytes of the run with them. saved: bytes."""

    overrides: str
    needed: int
    saved: int


def remedies(config: TrainConfig, counts: Counts, memory: int, most: int = 3) -> tuple[list[Remedy], Remedy | None]:
    """The settings that save most, and those, most saving first, with which together the run fits; None: none do."""
    needed = estimate(config, counts).needed
    tried = []
    for text, values in _candidates(config):
        changed = _changed(config, values)
        if changed is not None and (new := estimate(changed, counts).needed) < needed:
            tried.append((Remedy(text, new, needed - new), values))
    tried.sort(key=lambda pair: -pair[0].saved)
    return [remedy for remedy, _ in tried[:most]], _together(config, counts, memory, needed, tried)


def _together(
    config: TrainConfig, counts: Counts, memory: int, needed: int, tried: list[tuple[Remedy, Values]]
) -> Remedy | None:
    texts: list[str] = []
    best = needed
    for remedy, values in tried:
        changed = _changed(config, values)
        if changed is None or (new := estimate(changed, counts).needed) >= best:
            continue
        config, best = changed, new
        texts.append(remedy.overrides)
        if best <= memory:
            return Remedy(" ".join(texts), best, needed - best)
    return None


def _candidates(config: TrainConfig) -> Iterator[tuple[str, Values]]:
    """Overrides that may save memory, as text and as values."""
    trainer, encoder, classifier = config.trainer, config.encoder, config.classifier
    size = trainer.micro_batch_size or trainer.batch_size
    for smaller in (size // 2, size // 8):
        if smaller:
            yield f"trainer.micro_batch_size={smaller}", {"trainer.micro_batch_size": smaller}
    in_place = ("classifier/optimizer=sgd", {"classifier.optimizer": _IN_PLACE})
    if classifier.kind == "dense":
        sparse = {"kind": "fixed_fan_in", "fan_in": 128, "group_size": 1, "head": 0.0, "weight_dtype": "float32"}
        values = {**sparse, "backend": "auto", "optimizer": classifier.optimizer.model_dump()}
        yield "classifier=fixed_fan_in", {"classifier": values}
    else:
        yield in_place
        narrow = {"classifier.optimizer": _IN_PLACE, "classifier.weight_dtype": "bfloat16"}
        yield "classifier/optimizer=sgd classifier.weight_dtype=bfloat16", narrow
        if classifier.group_size == 1:
            yield "classifier.group_size=32", {"classifier.group_size": 32}
        half = classifier.fan_in // 2
        yield f"classifier.fan_in={half}", {"classifier.fan_in": half}
    yield from config.sparsity.remedies()
    yield "auxiliary=none", {"auxiliary": {"kind": "none"}}
    length = encoder.max_length // 2
    if encoder.kind == "bag":
        yield f"encoder.bigrams={encoder.bigrams // 4}", {"encoder.bigrams": encoder.bigrams // 4}
    if encoder.kind != "transformer":
        yield f"encoder.width={encoder.width // 2}", {"encoder.width": encoder.width // 2}
    else:
        yield f"encoder.max_length={length}", {"encoder.max_length": length}
        yield "encoder.activation_checkpointing=true", {"encoder.activation_checkpointing": True}
        yield "encoder.frozen=true", {"encoder.frozen": True}


def _changed(config: TrainConfig, values: Values) -> TrainConfig | None:
    """The configuration with these values; None where they do not go together."""
    dumped = config.model_dump()
    for key, value in values.items():
        *path, last = key.split(".")
        section = dumped
        for name in path:
            section = section[name]
        section[last] = value
    try:
        return parse(type(config), dumped)
    except XMCError:
        return None
