"""Settings that follow from what is counted in the data: what a run takes for keys that nobody has set.

Chosen on the dev splits of debtags, tibkat-en, eurlex57k, cve-libraries and dictionary (docs/design.md, The recipe).
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

_ENOUGH = 48_000  # documents seen in training, from which on more epochs add nothing where labels are few
_PER_LABEL = 40  # documents seen for each label, where they are many ...
_MOST_FOR_LABELS = 6  # ... by so many epochs at most
_EPOCHS = 1, 20
_MANY_PAIRS = 5e9  # documents times labels, which a pass over the data costs
_MOST_PAIRS = 3e9  # of all passes together; one pass there is in any case
_WIDTH = 512
_SHARE, _SMALL_SHARE = 8, 32  # features to a connection, and where a pass is long
_MANY_LABELS = 650_000  # whose weights in float32 would be the most that a run holds
_MANY_DOCUMENTS = 200_000
_RARE = 8  # documents to a label, below which words that stand once are what tells many labels ...
_FEW_PAIRS = 2e7  # ... and one node for all of them costs little, where documents times labels are no more
_LEAF = 100  # labels that are one node in any case


@dataclass(frozen=True, slots=True)
class Facts:
    """Of the train split. labels: of the vocabulary."""

    documents: int
    labels: int


@dataclass(frozen=True, slots=True)
class Choice:
    """A key of the configuration, its value, and why."""

    key: str
    value: Any
    reason: str


def recommended(facts: Facts, width: int | None, features: int | None = None) -> Iterator[Choice]:
    """The settings of a bag with a fixed fan-in classifier.

    width: of the encoder, where it is set. features: of the classifier, where an intermediate layer makes them.
    """
    most = facts.labels > _MANY_LABELS
    each = facts.documents / max(1, facts.labels)
    if each >= _RARE:
        yield Choice("lexical.words", 0, f"{each:.0f} documents a label: the words that the encoder knows are enough")
    elif facts.labels > _LEAF and facts.documents * facts.labels <= _FEW_PAIRS:
        reason = f"{facts.documents:,} documents, {facts.labels:,} labels: few enough to tell each label from all"
        yield Choice("lexical.leaf_size", facts.labels, reason)
    if width is None:
        width = _WIDTH // 2 if most else _WIDTH
        reason = (
            f"{facts.labels:,} labels"
            if most
            else "wider ones gained little beside the lexical half, and cost as much again"
        )
        yield Choice("encoder.width", width, reason)
    features = features or width
    yield Choice("encoder.dropout", 0.0, "plain SGD and few epochs do without")
    bigrams = min(100_000, 2 * facts.documents)
    yield Choice("encoder.bigrams", bigrams, f"{facts.documents:,} documents; the lexical half has more")
    share = _SHARE if facts.documents * facts.labels < _MANY_PAIRS else _SMALL_SHARE
    yield Choice("classifier.fan_in", max(1, features // share), f"one in {share} of {features:,} features")
    if most:
        yield Choice("classifier.weight_dtype", "bfloat16", f"{facts.labels:,} labels in half the memory")
    optimizer = {"kind": "sgd", "lr": 0.7, "weight_decay": 0.0, "momentum": 0.0}
    yield Choice("classifier.optimizer", optimizer, "in place: no gradients, no state, and better than AdamW on dev")
    epochs = _epochs(facts)
    seen = f"{facts.documents:,} documents, {facts.labels:,} labels: {epochs * facts.documents:,} seen"
    yield Choice("trainer.epochs", epochs, seen)
    if facts.documents > _MANY_DOCUMENTS:
        yield Choice("trainer.batch_size", 128, f"{facts.documents:,} documents")


def _epochs(facts: Facts) -> int:
    documents = max(1, facts.documents)
    wanted = max(-(-_ENOUGH // documents), min(-(-_PER_LABEL * facts.labels // documents), _MOST_FOR_LABELS))
    affordable = int(_MOST_PAIRS / (documents * max(1, facts.labels)))
    least, most = _EPOCHS
    return min(max(least, min(wanted, affordable)), most)


def is_given(key: str, given: Collection[str]) -> bool:
    """Whether the user has set this key, or one below it."""
    return any(one == key or one.startswith(key + ".") for one in given)
