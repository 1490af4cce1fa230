"""Whether a run fits the memory."""

from xmc import estimate
from xmc.commands.tune import TuneConfig
from xmc.config import TrainConfig
from xmc.errors import XMCError

_MIB = 2**20
_UNCOUNTED = {"width", "dropout", "term_dropout", "lr", "embedding_lr"}  # of an encoder: the data counts the same


class Sizes:
    """As `xmc estimate` tells them; what the data counts is counted once for all runs that read it alike."""

    def __init__(self, config: TuneConfig) -> None:
        self._device_memory, self._labels_a_document = config.device_memory, config.labels_a_document
        self._counts: dict[str, estimate.Counts] = {}

    def check(self, config: TrainConfig) -> None:
        """Raise XMCError where the run would not fit, or a label would see more features than there are."""
        read = config.encoder.model_dump_json(exclude=_UNCOUNTED) + str(config.trainer.label_texts)
        counts = self._counts.get(read)
        if counts is None:
            counts = self._counts[read] = estimate.count(config, self._labels_a_document)
        own = estimate.estimate(config, counts)
        memory = estimate.memory_of(config.trainer.device, self._device_memory)
        if own.needed > memory:
            raise XMCError(f"it would take {own.needed / _MIB:,.0f} MiB of {memory / _MIB:,.0f}; see xmc estimate")
        config.classifier.check(own.width)
