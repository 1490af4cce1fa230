"""What a model gained and what it forgot by going on to learn: before and after, on the same dev documents."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

from xmc import factory
from xmc.config import FinetuneConfig
from xmc.config.shell import shell_argument
from xmc.data.corpus import Corpus
from xmc.errors import XMCError
from xmc.evaluate.metrics import CSR, leave_out, ndcg_at_k, precision_at_k
from xmc.model import XMCModel
from xmc.workflow.predicting import rank
from xmc.workflow.run_folder import half_for, write_json

logger = logging.getLogger(__name__)

FELL = 0.01  # of a metric: so much less is told ...
FEW = 2  # ... unless so many documents make the difference


@dataclass(frozen=True)
class Change:
    """Metrics of a model before and after, by name, on so many dev documents of the old or the new data."""

    data: str
    documents: int
    before: Mapping[str, float]
    after: Mapping[str, float]

    @property
    def fell(self) -> list[str]:
        """The metrics that are clearly less than before."""
        least = max(FELL, FEW / self.documents)
        return [name for name, value in self.before.items() if self.after[name] < value - least]


def tell_change(config: FinetuneConfig, after: XMCModel) -> None:
    """Measure the model beside its source: a table on the terminal, `<run>/finetuned-dev.json`, a word about a loss."""
    before = XMCModel.from_pretrained(factory.model_folder(config.source), device=str(after.device))
    with half_for("dev", before, Path(config.source)):
        changes = measure_change(config, before, after)
    if not changes:
        return
    values = {c.data: {"documents": c.documents, "before": {**c.before}, "after": {**c.after}} for c in changes}
    write_json(Path(config.run) / "finetuned-dev.json", values)
    print(table(changes))
    warn_of_loss(changes, config)


def measure_change(config: FinetuneConfig, before: XMCModel, after: XMCModel) -> list[Change]:
    """Both models on the dev documents of the new data and of the old, each list over the labels that the model has.

    A true label that a model lacks is one that it misses.
    """
    return [
        Change(name, len(corpus.split("dev")), *(_measured(model, corpus, config) for model in (before, after)))
        for name, corpus in _dev_data(config)
    ]


def table(changes: list[Change]) -> str:
    """The metrics in percent, a line for each model and data."""
    names = list(changes[0].before)
    lines = [f"{'dev':<24}" + "".join(f"{name:>8}" for name in names)]
    for change in changes:
        for when, values in (("before", change.before), ("after", change.after)):
            lines.append(f"{change.data + ', ' + when:<24}" + "".join(f"{100 * values[name]:8.2f}" for name in names))
    return "\n".join(lines)


def warn_of_loss(changes: list[Change], config: FinetuneConfig) -> None:
    """One line where the model is worse than it was, with what can be done."""
    for change in changes:
        if not change.fell:
            continue
        name = change.fell[0]
        if config.replay is None:
            folder = shell_argument("replay", config.source) if config.old_data else "replay=<folder of the old data>"
            way_out = f"mix old documents in with {folder}, a fifth of them with replay_fraction=0.2"
        else:
            way_out = "raise replay_fraction" if config.replay_fraction < 1 else "train longer"
        logger.warning(
            f"on {change.data} {name} fell from {100 * change.before[name]:.2f} to {100 * change.after[name]:.2f}; "
            f"{way_out}, or lower the learning rates (encoder.lr, classifier.optimizer.lr), in another run"
        )


def _dev_data(config: FinetuneConfig) -> Iterator[tuple[str, Corpus]]:
    """The new data and the old, where they have dev documents; what cannot be read is told."""
    old = [section for section in config.old_data if section != config.data]
    for number, section in enumerate((config.data, *old)):
        name = "new data" if number == 0 else "old data" if len(old) == 1 else f"old data {number}"
        try:
            corpus = factory.with_dev(section)
        except XMCError as error:
            logger.warning(f"{name}: not at hand, so that what the model forgot of it is not known: {error}")
            continue
        if "dev" in corpus.splits:
            yield name, corpus
    if not config.old_data:
        logger.warning(
            f"{config.source} is a model without its run, so that what it forgot is not known; "
            "replay=<folder of its run or data> mixes its old documents in"
        )


def _measured(model: XMCModel, corpus: Corpus, config: FinetuneConfig) -> dict[str, float]:
    dev, k = corpus.split("dev"), max(config.metrics.ks)
    batches = factory.build_batches(config, corpus, "dev", model.encoder, 4 * config.trainer.batch_size)
    ranked = rank(model, batches.by_length(), k).labels.numpy()
    place = {label: column for column, label in enumerate(corpus.label_ids)}
    columns = np.array([place.setdefault(label, len(place)) for label in model.label_ids])
    labels = np.where(ranked >= 0, columns[ranked], -1)
    truth: CSR = csr_matrix((dev.labels.data, dev.labels.indices, dev.labels.indptr), shape=(len(dev), len(place)))
    if dev.filter_pairs is not None:
        labels, truth = leave_out(labels, truth, dev.filter_pairs)
    precision, ndcg = precision_at_k(labels, truth, k), ndcg_at_k(labels, truth, k)
    return {f"P@{cut}": float(precision[cut - 1]) for cut in config.metrics.ks} | {f"nDCG@{k}": float(ndcg[-1])}
