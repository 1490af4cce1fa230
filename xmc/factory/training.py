"""From configuration to a run."""

import functools
import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import torch
from scipy.sparse import csr_matrix

from xmc import config as c
from xmc.data.batches import Batches
from xmc.data.corpus import Corpus
from xmc.data.hierarchy import above as labels_above
from xmc.distributed import ALONE, Processes
from xmc.errors import XMCError
from xmc.factory.data import build_batches
from xmc.factory.model import build_encoder, build_intermediate
from xmc.factory.optimizers import build_optimizers
from xmc.factory.source import learn_new_rows_, prepared_parts, source_fingerprint, with_learned_rows
from xmc.factory.sparsity import build_sparse_parts
from xmc.model import XMCModel
from xmc.model.clustering import label_features, tfidf, unit_rows
from xmc.model.encoder import Encoder
from xmc.model.sharded import shared
from xmc.parts.output import OutputSite
from xmc.train.loop import Plan
from xmc.train.state import TrainState

_EVALUATIONS = 4, 10  # on dev in a run, where trainer.eval_every is null
_CHECKPOINTS = 10  # of a run, where trainer.checkpoint_every is null, too


@dataclass(frozen=True)
class Training:
    """What the loop needs."""

    state: TrainState
    plan: Plan
    batches: Batches
    dev_batches: Batches | None

    def by_one_process(self) -> Self:
        """With all documents of dev in this process."""
        return self if self.dev_batches is None else replace(self, dev_batches=self.dev_batches.whole())


def run_fingerprint(config: c.TrainConfig, corpus: Corpus) -> str:
    """Hash of all that decides a run's result: the configuration but for paths and tracking, the data itself and
    the model it starts from. A key that the run's configuration is too old to have does not count."""
    apart = {
        "run",
        "resume",
        "tracking",
        "data",
        "source",
        "replay",
        "replay_fraction",
        "old_data",
        "caution",
        "finish",
    }
    settings = config.model_dump(mode="json", exclude=apart, exclude_unset=True)
    text = json.dumps(settings, sort_keys=True) + corpus.fingerprint
    if isinstance(config, c.FinetuneConfig):
        text += source_fingerprint(config.source)
    return hashlib.sha256(text.encode()).hexdigest()


def build_training(
    config: c.TrainConfig,
    corpus: Corpus,
    device: torch.device,
    encoder: Encoder | None = None,
    source: XMCModel | None = None,
    resumed: bool = False,
    processes: Processes = ALONE,
) -> Training:
    """Everything of a run, at its first step.

    encoder: that of the configuration, where it is built already. source: a trained model to start from. resumed: a
    checkpoint's state will be loaded, so that new labels need not learn first. processes: that train it together; this
    one has its labels, and of each batch its documents.
    """
    torch.manual_seed(config.seed)
    generator = torch.Generator().manual_seed(config.seed)
    taught = corpus.with_label_texts() if config.trainer.label_texts else corpus
    if source is not None:
        encoder, intermediate = prepared_parts(config, corpus, source)
    else:
        encoder = encoder or build_encoder(config, taught)
        intermediate = build_intermediate(config, encoder.width)
    batches = build_batches(config, taught, "train", encoder, config.trainer.batch_size, processes)

    @functools.cache
    def features() -> csr_matrix:
        """What labels are clustered by, [L, V]: TF-IDF over the encoder's own tokens, or the values as given."""
        ids, offsets = batches.flat_tokens()
        values, size = batches.flat_values(), len(encoder.tokenizer)
        documents = tfidf(ids, offsets, size) if values is None else unit_rows(values, ids, offsets, size)
        return label_features(documents, batches.labels)

    counts = torch.from_numpy(corpus.label_counts("train"))
    site = OutputSite(
        *(intermediate.width, counts, features, config.parametrization, config.sparsity, device, generator),
        seed=config.seed,
        processes=processes,
    )
    classifier = shared(config.classifier.build(site), processes, len(counts))
    classifier.init_bias(counts, len(corpus.split("train")), config.loss)
    learned = torch.zeros(len(counts), dtype=torch.bool)
    if source is not None:
        classifier, learned = with_learned_rows(classifier, source, corpus.label_ids)
    classifier.adjust_logits(counts, len(corpus.split("train")), config.trainer.logit_adjustment)
    above = torch.from_numpy(labels_above(corpus.label_ids, corpus.parents)) if corpus.parents else None
    model = XMCModel(
        encoder,
        intermediate,
        classifier,
        label_ids=corpus.label_ids,
        label_names=corpus.label_names,
        loss=config.loss,
        logit_adjustment=config.trainer.logit_adjustment,
        precision=config.trainer.precision,
        above=above,
    ).to(device)
    if isinstance(config, c.FinetuneConfig) and not resumed:
        learn_new_rows_(model, learned, batches, config.new_labels, config.seed)
    dev_batches = None
    if "dev" in corpus.splits:
        dev_batches = build_batches(config, corpus, "dev", encoder, dev_batch_size(config), processes)
    elif config.trainer.patience is not None:
        raise XMCError(
            f"trainer.patience={config.trainer.patience} needs a dev split, and data.dev_fraction=0 leaves none; "
            "set trainer.patience=null, or a dev fraction"
        )
    auxiliary = config.auxiliary.build(site)
    dev_documents = len(dev_batches.lengths) if dev_batches is not None else 0
    plan = _build_plan(config, batches.steps_per_epoch, dev_documents, device)
    sparse = build_sparse_parts(config, model, plan.total_steps, learned, processes)
    state = TrainState(model, auxiliary, build_optimizers(config, model, auxiliary), sparse, processes)
    return Training(state, plan, batches, dev_batches)


def dev_batch_size(config: c.TrainConfig) -> int:
    """Documents that are evaluated at once: no gradients are kept, so that there may be more than in training."""
    return 4 * (config.trainer.micro_batch_size or config.trainer.batch_size)


def _build_plan(config: c.TrainConfig, steps_per_epoch: int, dev_documents: int, device: torch.device) -> Plan:
    trainer = config.trainer
    if trainer.precision == "bfloat16" and device.type != "cuda":
        raise XMCError(f"trainer.precision=bfloat16 needs a GPU, and the device is {device.type}; give auto or float32")
    total = trainer.max_steps or math.ceil(trainer.epochs * steps_per_epoch)
    eval_every = trainer.eval_every or math.ceil(total / _evaluations(total * trainer.batch_size, dev_documents))
    weight, until = config.auxiliary.influence(total)
    return Plan(
        total_steps=total,
        warmup_steps=round(trainer.warmup * total),
        schedule=trainer.schedule,
        auxiliary_weight=weight,
        auxiliary_steps=until,
        micro_batch_size=trainer.micro_batch_size,
        clip_norm=trainer.clip_norm,
        log_every=trainer.log_every,
        eval_every=eval_every,
        checkpoint_every=trainer.checkpoint_every or trainer.eval_every or math.ceil(total / _CHECKPOINTS),
        patience=trainer.patience,
    )


def _evaluations(seen: int, dev_documents: int) -> int:
    """So many that they read at most half as many documents as training does, but never fewer than four."""
    fewest, most = _EVALUATIONS
    return min(max(fewest, seen // (2 * max(1, dev_documents))), most)


def check_divisible(config: c.TrainConfig) -> None:
    """Raise XMCError where several processes cannot train the run together; it says why, and the way out."""
    if reasons := [*_hindrances(config)]:
        told = "; ".join(reasons)
        raise XMCError(f"several processes cannot train this run: {told}. Or leave torchrun out: one process can")


def _hindrances(config: c.TrainConfig) -> Iterator[str]:
    if isinstance(config, c.FinetuneConfig):
        yield "rows of a trained model are taken over by one process; take xmc train"
    if (reason := config.classifier.undivided()) is not None:
        yield reason
    if not config.sparsity.divides:
        yield f"sparsity={config.sparsity.kind} is built for all labels; take set, rigl or static"
    if config.sparse_ift.transformed:
        yield f"sparse_ift={config.sparse_ift.kind} rewires layers that all processes have; take none"
