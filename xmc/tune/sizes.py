"""Whether a run fits the memory."""

from xmc import estimate
from xmc.config import EstimateConfig, FixedFanInClassifier, TrainConfig, TuneConfig, parse
from xmc.types import XMCError

_MIB = 2**20
_UNCOUNTED = {"width", "dropout", "term_dropout", "lr", "embedding_lr"}  # of an encoder: the data counts the same


class Sizes:
    """As `xmc estimate` tells them; what the data counts is counted once for all runs that read it alike."""

    def __init__(self, config: TuneConfig) -> None:
        self._of_tune = config.model_dump(include={"device_memory", "labels_a_document"})
        self._counts: dict[str, estimate.Counts] = {}

    def check(self, config: TrainConfig) -> None:
        """Raise XMCError where the run would not fit, or a label would see more features than there are."""
        asked = parse(EstimateConfig, config.model_dump() | self._of_tune)
        read = asked.encoder.model_dump_json(exclude=_UNCOUNTED) + str(asked.trainer.label_texts)
        counts = self._counts.get(read) or self._counts.setdefault(read, estimate.count(asked))
        own, memory = estimate.estimate(asked, counts), estimate.memory_of(asked)
        if own.needed > memory:
            raise XMCError(f"it would take {own.needed / _MIB:,.0f} MiB of {memory / _MIB:,.0f}; see xmc estimate")
        if isinstance(asked.classifier, FixedFanInClassifier) and asked.classifier.fan_in > own.width:
            raise XMCError(f"classifier.fan_in={asked.classifier.fan_in} exceeds the {own.width} features")
