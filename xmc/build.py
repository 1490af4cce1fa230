"""The one place where configuration becomes objects."""

import functools
import hashlib
import json
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from scipy.sparse import csr_matrix
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from xmc import config as c
from xmc.data import Batches, Corpus, cut_dev, read_lightxml, read_pydoc, read_table, tokenize
from xmc.model import XMCModel
from xmc.model.auxiliary import ClusterHead
from xmc.model.bag import BagConfig, BagModel, frequent_bigrams, train_tokenizer
from xmc.model.classifier import Classifier, Dense, FixedFanIn
from xmc.model.clustering import cluster_labels, label_features, order_by_group, tfidf
from xmc.model.encoder import Encoder, load_backbone
from xmc.model.intermediate import build_intermediate
from xmc.ops.fan_in import resolve_backend
from xmc.sparsity import RigL, Set, Static, Strategy, TopologyHealth, init_index
from xmc.train.loop import Plan
from xmc.train.optim import InPlaceSGD, SlotAdamW
from xmc.train.sparse_novograd import SparseNovoGrad
from xmc.train.state import TrainState
from xmc.train.step import feature_parameters
from xmc.train.tracking import LocalLog, Tracker, Trackers, Wandb
from xmc.types import XMCError

logger = logging.getLogger(__name__)

EVALUATIONS = 10  # on dev in a run, where trainer.eval_every is null


@dataclass(frozen=True)
class Training:
    """What the loop needs."""

    state: TrainState
    plan: Plan
    batches: Batches
    dev_batches: Batches | None


def prepare_machine(device: str, threads: int | None) -> torch.device:
    """Set the number of CPU threads (None: torch's own choice) and choose the device; `auto` prefers a GPU.

    Raises:
        XMCError: the device named is not to be had.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise XMCError(f"device={device!r} cannot be used: {error}; take auto, cpu or cuda") from None
    return chosen


def load_corpus(config: c.TrainConfig) -> Corpus:
    """Read the data named in the configuration and cut a dev split where there is none and one is wanted."""
    data = config.data
    if isinstance(data, c.PydocData):
        corpus = read_pydoc(data.packages)
    elif isinstance(data, c.LightXMLData):
        corpus = read_lightxml(data.root, cache_dir=_cache(data))
    else:
        corpus = read_table(
            data.root,
            data.text_fields,
            data.label_field,
            data.id_field,
            files=data.files,
            label_separator=data.label_separator,
            text_separator=data.text_separator,
            cache_dir=_cache(data),
        )
    return cut_dev(corpus, data.dev_fraction, seed=0)


def text_fields(config: c.TrainConfig) -> tuple[str, ...]:
    """Fields that make up a document's text."""
    return config.data.text_fields if isinstance(config.data, c.TableData) else ("text",)


def run_fingerprint(config: c.TrainConfig, corpus: Corpus) -> str:
    """Hash of all that decides a run's result: the configuration but for paths and tracking, and the data itself."""
    values = config.model_dump(mode="json", exclude={"run": True, "resume": True, "tracking": True, "data": True})
    text = json.dumps(values, sort_keys=True) + corpus.fingerprint
    return hashlib.sha256(text.encode()).hexdigest()


def build_training(config: c.TrainConfig, corpus: Corpus, device: torch.device) -> Training:
    """Everything of a run, at its first step."""
    torch.manual_seed(config.seed)
    generator = torch.Generator().manual_seed(config.seed)
    train = corpus.split("train")
    encoder = _build_encoder(config, corpus)
    intermediate = build_intermediate(in_features=encoder.width, **config.intermediate.model_dump())
    batches = build_batches(config, corpus, "train", encoder, config.trainer.batch_size)

    @functools.cache
    def features() -> csr_matrix:
        """What labels are clustered by, [L, V]: TF-IDF over the encoder's own tokens."""
        return label_features(tfidf(*batches.flat_tokens(), len(encoder.tokenizer)), batches.labels)

    classifier = _build_classifier(config, intermediate.width, len(corpus.label_ids), features, device, generator)
    counts = torch.from_numpy(corpus.label_counts("train"))
    classifier.init_bias(counts, len(train), config.loss)
    model = XMCModel(
        encoder,
        intermediate,
        classifier,
        label_ids=corpus.label_ids,
        label_names=corpus.label_names,
        loss=config.loss,
    ).to(device)
    dev_batches = None
    if "dev" in corpus.splits:
        dev_batches = build_batches(config, corpus, "dev", encoder, 4 * config.trainer.batch_size)
    elif config.trainer.patience is not None:
        raise XMCError(
            f"trainer.patience={config.trainer.patience} needs a dev split, and data.dev_fraction=0 leaves none; "
            "set trainer.patience=null, or a dev fraction"
        )
    auxiliary = _build_auxiliary(config, model, features, generator)
    plan = _build_plan(config, batches.steps_per_epoch, device)
    strategy = _build_strategy(config, plan.total_steps)
    health = None
    if isinstance(classifier, FixedFanIn):
        health = TopologyHealth(classifier.index, classifier.in_features)
    state = TrainState(model, auxiliary, _build_optimizers(config, model, auxiliary), strategy, health)
    return Training(state, plan, batches, dev_batches)


def build_batches(config: c.TrainConfig, corpus: Corpus, split: str, encoder: Encoder, batch_size: int) -> Batches:
    """Batches of a split, its texts tokenised on first use."""
    documents = corpus.split(split)
    tokens = tokenize(documents, encoder.tokenizer, encoder.max_length, _cache(config.data), config.data.processes)
    pad = encoder.tokenizer.pad_token_id
    return Batches(tokens, documents.labels, 0 if pad is None else pad, batch_size, config.seed)


def build_tracker(config: c.TrainConfig, resume_step: int) -> Tracker:
    """The local log, and Weights & Biases where it is asked for."""
    run = Path(config.run)
    local = LocalLog(run / "log.jsonl", resume_step=resume_step)
    if isinstance(config.tracking, c.NoTracking):
        return local
    wandb = Wandb(
        run,
        mode=config.tracking.mode,
        project=config.tracking.project,
        name=config.tracking.name,
        config=config.model_dump(mode="json"),
        run_id=hashlib.sha256(str(run.absolute()).encode()).hexdigest()[:16],
    )
    return Trackers(local, wandb)


def _cache(data: c.DataSection) -> Path:
    return Path(data.cache_dir).expanduser()


def _build_encoder(config: c.TrainConfig, corpus: Corpus) -> Encoder:
    section = config.encoder
    if isinstance(section, c.BagEncoder):
        return _build_bag(config, section, corpus)
    backbone, tokenizer = load_backbone(section.name, section.backbone_dropout)
    if section.activation_checkpointing:
        backbone.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return Encoder(
        backbone,
        tokenizer,
        pooling=section.pooling,
        max_length=section.max_length,
        dropout=section.dropout,
        frozen=section.frozen,
    )


def _build_bag(config: c.TrainConfig, section: c.BagEncoder, corpus: Corpus) -> Encoder:
    """Tokenizer, bigrams and document frequencies are learned from the training texts."""
    train = corpus.split("train")
    tokenizer = train_tokenizer(train.texts, section.vocab_size)
    tokens = tokenize(train, tokenizer, section.max_length, _cache(config.data), config.data.processes)
    batches = Batches(tokens, train.labels, tokenizer.pad_token_id, config.trainer.batch_size)
    bigrams = frequent_bigrams(*batches.flat_tokens(), len(tokenizer), section.bigrams, section.min_documents)
    model = BagModel(
        BagConfig(
            vocab_size=len(tokenizer),
            num_bigrams=len(bigrams),
            hidden_size=section.width,
            intermediate_size=section.mlp_width,
            term_dropout=section.term_dropout,
        )
    )
    model.learn_terms(bigrams, ((batch.input_ids, batch.attention_mask) for batch in batches.by_length()))
    return Encoder(model, tokenizer, pooling="none", max_length=section.max_length, dropout=section.dropout)


def _build_classifier(
    config: c.TrainConfig,
    in_features: int,
    num_labels: int,
    features: Callable[[], csr_matrix],
    device: torch.device,
    generator: torch.Generator,
) -> Classifier:
    section = config.classifier
    if isinstance(section, c.DenseClassifier):
        return Dense(in_features, num_labels, generator=generator)
    if section.fan_in > in_features:
        raise XMCError(
            f"classifier.fan_in={section.fan_in} exceeds the {in_features} features it can choose from; "
            f"set it to at most {in_features}, or widen the encoder or the intermediate layer"
        )
    dtype = getattr(torch, section.weight_dtype)
    backend, passed_over = resolve_backend(device, requested=section.backend, weight_dtype=dtype)
    reasons = "".join(f"; not {name}: {reason}" for name, reason in passed_over.items())
    logger.info("classifier back end: %s%s", backend, reasons)
    order = None
    if section.group_size > 1:
        order = torch.from_numpy(order_by_group(features(), section.group_size, config.seed))
    index = init_index(math.ceil(num_labels / section.group_size), section.fan_in, in_features, config.seed)
    return FixedFanIn(in_features, index, backend=backend, generator=generator, order_L=order, dtype=dtype)


def _build_auxiliary(
    config: c.TrainConfig, model: XMCModel, features: Callable[[], csr_matrix], generator: torch.Generator
) -> ClusterHead | None:
    if isinstance(config.auxiliary, c.NoAuxiliary):
        return None
    clusters = cluster_labels(features(), config.auxiliary.leaf_size, config.seed)
    return ClusterHead(model.classifier.in_features, torch.from_numpy(clusters), generator=generator).to(model.device)


def _build_optimizers(config: c.TrainConfig, model: XMCModel, auxiliary: ClusterHead | None) -> dict[str, Optimizer]:
    """One optimizer a part; all follow the same schedule from their own peak."""
    encoder = config.encoder
    parts: dict[str, Optimizer] = {}
    tables = [model.encoder.backbone.table] if isinstance(model.encoder.backbone, BagModel) else []
    ours = {id(table) for table in tables}
    dense = [p for p in feature_parameters(model) if p.requires_grad and id(p) not in ours]
    if dense:
        parts["encoder"] = AdamW(_decay_groups(dense, encoder.weight_decay), lr=encoder.lr)
    if isinstance(encoder, c.BagEncoder):
        parts["embedding"] = SparseNovoGrad(tables, lr=encoder.embedding_lr)
    parts |= _classifier_optimizers(config.classifier.optimizer, model.classifier, config.seed)
    if auxiliary is not None and isinstance(config.auxiliary, c.ClustersAuxiliary):
        parts["auxiliary"] = AdamW(auxiliary.parameters(), lr=config.auxiliary.lr, weight_decay=0.0)
    for optimizer in parts.values():
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return parts


def _classifier_optimizers(section: c.AdamW | c.SGD, classifier: Classifier, seed: int) -> dict[str, Optimizer]:
    weight, bias = [classifier.weight], [classifier.bias]
    if isinstance(section, c.SGD):
        if isinstance(classifier, FixedFanIn) and not section.momentum:
            optimizer = InPlaceSGD([*weight, *bias], lr=section.lr, weight_decay=section.weight_decay, seed=seed)
            classifier.in_place = optimizer.update
            return {"classifier": optimizer}
        groups = [{"params": weight, "weight_decay": section.weight_decay}, {"params": bias, "weight_decay": 0.0}]
        return {"classifier": SGD(groups, lr=section.lr, momentum=section.momentum)}
    adam = SlotAdamW if isinstance(classifier, FixedFanIn) else AdamW
    return {
        "classifier": adam(weight, lr=section.lr, weight_decay=section.weight_decay),
        "bias": AdamW(bias, lr=section.lr, weight_decay=0.0),
    }


def _decay_groups(parameters: list[nn.Parameter], weight_decay: float) -> list[dict[str, object]]:
    """Weight decay for matrices; none for biases and norms."""
    return [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]


def _build_plan(config: c.TrainConfig, steps_per_epoch: int, device: torch.device) -> Plan:
    trainer = config.trainer
    total = trainer.max_steps or math.ceil(trainer.epochs * steps_per_epoch)
    eval_every = trainer.eval_every or max(1, math.ceil(total / EVALUATIONS))
    auxiliary = config.auxiliary if isinstance(config.auxiliary, c.ClustersAuxiliary) else None
    return Plan(
        total_steps=total,
        warmup_steps=round(trainer.warmup * total),
        schedule=trainer.schedule,
        auxiliary_weight=auxiliary.weight if auxiliary else 0.0,
        auxiliary_steps=round(auxiliary.until * total) if auxiliary else 0,
        micro_batch_size=trainer.micro_batch_size,
        clip_norm=trainer.clip_norm,
        autocast=device.type == "cuda" and trainer.precision != "float32",
        log_every=trainer.log_every,
        eval_every=eval_every,
        checkpoint_every=trainer.checkpoint_every or eval_every,
        patience=trainer.patience,
    )


def _build_strategy(config: c.TrainConfig, total_steps: int) -> Strategy:
    section = config.sparsity
    if isinstance(section, c.StaticSparsity) or isinstance(config.classifier, c.DenseClassifier):
        return Static()
    end = round(section.stop * total_steps)
    if isinstance(section, c.SetSparsity):
        return Set(section.drop, section.initial, section.interval, end, config.seed)
    return RigL(
        *(section.initial, section.interval, end, config.seed), candidates=section.candidates, batches=section.batches
    )
