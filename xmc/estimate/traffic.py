"""What the processes of a job send one another in a step: arithmetic, nothing measured."""

from xmc.config import TrainConfig
from xmc.estimate.counts import Counts
from xmc.estimate.features import Features
from xmc.estimate.part import Part

_HALF, _FLOAT, _LONG = 2, 4, 8


def traffic(config: TrainConfig, counts: Counts, features: Features, devices: int, on_gpu: bool) -> tuple[Part, ...]:
    """Bytes that leave one of so many processes in a step, by what they are.

    Rows are gathered from process to process, so that each sends its own to all others; of a sum it sends what is not
    its own part, and gets or sends the sum back. Small numbers, such as lengths, are left out.
    """
    own, others = -(-config.trainer.batch_size // devices), devices - 1
    positives = own + round(own * counts.pairs / max(1, counts.documents))
    number = _HALF if on_gpu and config.trainer.precision != "float32" else _FLOAT  # as features are computed
    rows = others * own * features.width * number
    bag = config.encoder.bag
    of_table = 0
    if bag is not None and counts.terms is not None:
        entries = counts.terms.entries(own, config.encoder.max_length, bag.term_dropout)
        of_table = others * (own * (bag.width * _FLOAT + _LONG) + entries * (_LONG + _FLOAT))
    of_auxiliary = 2 * rows + others * positives * _LONG if config.auxiliary.clusters_labels else 0
    parts = (
        Part("features", rows),
        Part("positives", others * positives * _LONG),
        Part("gradient of the features", rows),
        Part("the same for the auxiliary head, while it learns", of_auxiliary),
        Part("gradient of the encoder", 2 * others * -(-features.dense // devices)),
        Part("gradient of its table", of_table),
    )
    return tuple(part for part in parts if part.bytes)
