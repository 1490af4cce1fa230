"""From configuration to the parts of a model."""

import hashlib
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from scipy.sparse import csr_matrix
from tokenizers import Tokenizer
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from xmc import config as c
from xmc.data.batches import Batches
from xmc.data.cache import cached
from xmc.data.corpus import Corpus, Split
from xmc.data.tokens import tokenize
from xmc.endings import undisturbed
from xmc.errors import XMCError
from xmc.model import XMCModel, intermediate
from xmc.model.auxiliary import ClusterHead
from xmc.model.bag import (
    NUM_SPECIAL,
    UNKNOWN,
    BagConfig,
    BagModel,
    as_pretrained,
    frequent_bigrams,
    frequent_words,
    scripts_of,
    train_tokenizer,
    untrained_tokenizer,
)
from xmc.model.classifier import Classifier, Dense, FixedFanIn
from xmc.model.clustering import cluster_labels, order_by_group
from xmc.model.encoder import Encoder, fitting_length, pad_id
from xmc.model.head_and_tail import HeadAndTail, most_frequent_first
from xmc.model.intermediate import Identity, Linear
from xmc.model.sparse_features import SparseFeaturesConfig, SparseFeaturesModel, SparseFeaturesTokenizer
from xmc.model.sparse_ift import SparseIFT, sparsify_feed_forward_
from xmc.ops.fan_in import resolve_backend
from xmc.parametrization import Parametrization, Standard, SuPar
from xmc.sparsity.topology import init_index

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

_TOKENIZER = "tokenizer.json"

# Numbers of rows that draw random connections, beyond any label's.
INNER_ROWS = 1 << 40
_ENCODER_ROWS = 1 << 41


class Connections:
    """Random first connections for one layer after the other, each of rows of its own."""

    def __init__(self, seed: int, first_row: int) -> None:
        self._seed = seed
        self._row = first_row

    def __call__(self, outputs: int, fan_in: int, inputs: int) -> Tensor:
        index = init_index(outputs, fan_in, inputs, self._seed, offset=self._row)
        self._row += outputs
        return index


def build_transformation(config: c.TrainConfig, layer: Literal["intermediate", "encoder"]) -> SparseIFT | None:
    """What becomes of the dense layers there."""
    section = config.sparse_ift
    if isinstance(section, c.NoSparseIFT) or layer not in section.layers:
        return None
    return SparseIFT(section.kind, section.sparsity)


def build_intermediate(config: c.TrainConfig, in_features: int) -> Linear | Identity:
    return intermediate.build_intermediate(
        in_features=in_features,
        transformation=build_transformation(config, "intermediate"),
        index_of=Connections(config.seed, INNER_ROWS),
        **config.intermediate.model_dump(),
    )


def build_encoder(config: c.TrainConfig, corpus: Corpus) -> Encoder:
    section = config.encoder
    if isinstance(section, c.BagEncoder):
        return _build_bag(config, section, corpus)
    if isinstance(section, c.SparseFeaturesEncoder):
        return _build_sparse_features(section, corpus)
    with undisturbed():
        from xmc.model.huggingface import load_backbone

    backbone, tokenizer = load_backbone(section.name, section.backbone_dropout)
    if section.activation_checkpointing:
        checkpoint_activations(backbone)
    transformation = build_transformation(config, "encoder")
    if transformation is not None:
        sparsify_feed_forward_(backbone, transformation, Connections(config.seed, _ENCODER_ROWS))
    max_length = fitting_length(backbone, section.max_length)
    return Encoder(
        backbone,
        tokenizer,
        pooling=section.pooling,
        max_length=max_length,
        layers=section.layers,
        dropout=section.dropout,
        frozen=section.frozen,
        transformation=transformation,
        lexical=_bag_of(config, section.lexical, tokenizer, corpus, max_length) if section.lexical.width else None,
    )


def checkpoint_activations(backbone: "PreTrainedModel") -> None:
    """Keep no activations inside the backbone; compute them again in the backward pass."""
    backbone.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def _build_bag(config: c.TrainConfig, section: c.BagEncoder, corpus: Corpus) -> Encoder:
    """Tokenizer, bigrams and document frequencies are learned from the training texts.

    A lexical half reads what an embedding cannot use: words that stand once, or in the labels' names alone.
    """
    words, frequency, read = section.vocab_size, section.min_frequency, corpus
    if more := _words_of_half(config):
        words, frequency = max(words, more), 1
        read = corpus if config.trainer.label_texts else corpus.with_label_texts()
    tokenizer = _word_tokenizer(read.split("train"), words, frequency, config.data.cache)
    scripts = ", ".join(f"{script} {words:,}" for script, words in scripts_of(tokenizer.get_vocab()).most_common(8))
    logger.info("%d words, by script: %s", len(tokenizer) - NUM_SPECIAL, scripts)
    model = _bag_of(config, section, tokenizer, corpus, section.max_length, mlp_width=section.mlp_width)
    return Encoder(model, tokenizer, pooling="none", max_length=section.max_length, dropout=section.dropout)


def _words_of_half(config: c.TrainConfig) -> int:
    """How many words a lexical half reads at most, embedded or not; 0: those that have an embedding."""
    return config.lexical.words if isinstance(config.lexical, c.TreeLexical) else 0


def _build_sparse_features(section: c.SparseFeaturesEncoder, corpus: Corpus) -> Encoder:
    assert corpus.num_features is not None
    tokenizer = SparseFeaturesTokenizer(corpus.num_features)
    model = SparseFeaturesModel(
        SparseFeaturesConfig(
            num_features=corpus.num_features, hidden_size=section.width, term_dropout=section.term_dropout
        )
    )
    return Encoder(model, tokenizer, pooling="none", max_length=section.max_length, dropout=section.dropout)


def _word_tokenizer(split: Split, size: int, frequency: int, cache: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of these texts, learned once and read from the cache from then on."""
    recipe = f"{split.fingerprint} {size} {frequency} {untrained_tokenizer().to_str()}"
    name = f"tokenizer-{hashlib.blake2b(recipe.encode(), digest_size=16).hexdigest()}"

    def make(folder: Path) -> None:
        learned = train_tokenizer(split.texts, size, frequency).backend_tokenizer.to_str()
        (folder / _TOKENIZER).write_text(learned, encoding="utf-8")

    return as_pretrained(cached(cache / name, make, lambda folder: Tokenizer.from_file(str(folder / _TOKENIZER))))


def _bag_of(
    config: c.TrainConfig,
    terms: c.BagEncoder | c.Lexical,
    tokenizer: PreTrainedTokenizerBase,
    corpus: Corpus,
    max_length: int,
    mlp_width: int = 0,
) -> BagModel:
    """A bag over the tokens of the training texts and their bigrams."""
    train = corpus.split("train")
    tokens = tokenize(train, tokenizer, max_length, config.data.cache, config.data.processes)
    batches = Batches(tokens, train.labels, pad_id(tokenizer), config.trainer.batch_size)
    ids, offsets = batches.flat_tokens()
    words = len(tokenizer)
    if isinstance(terms, c.BagEncoder) and _words_of_half(config):
        words = frequent_words(ids, min(words, terms.vocab_size), terms.min_frequency)
        ids = np.where(ids < words, ids, UNKNOWN)
    bigrams = frequent_bigrams(ids, offsets, words, terms.bigrams, terms.min_documents)
    model = BagModel(
        BagConfig(
            vocab_size=len(tokenizer),
            num_words=words,
            num_bigrams=len(bigrams),
            hidden_size=terms.width,
            intermediate_size=mlp_width,
            term_dropout=terms.term_dropout,
        )
    )
    model.learn_terms(bigrams, ((batch.input_ids, batch.attention_mask) for batch in batches.by_length()))
    model.idf[tokenizer.all_special_ids] = 0  # such as [CLS], which every text has
    return model


def build_classifier(
    config: c.TrainConfig,
    in_features: int,
    label_counts: Tensor,
    features: Callable[[], csr_matrix],
    device: torch.device,
    generator: torch.Generator,
) -> Classifier:
    """label_counts: training documents of each label, [L]. features: what labels are grouped by, [L, V]."""
    section, num_labels = config.classifier, len(label_counts)
    bound = build_parametrization(config).init_bound(in_features)
    if isinstance(section, c.DenseClassifier):
        return Dense(in_features, num_labels, generator=generator, bound=bound)
    many = math.ceil(section.head * num_labels)
    if many == 0:
        return _build_fixed_fan_in(config, section, in_features, num_labels, features, device, generator)
    if many == num_labels:
        raise XMCError(
            f"classifier.head={section.head} leaves no label to the sparse tail; lower it, or take classifier=dense"
        )
    order = most_frequent_first(label_counts)
    rows = order[many:].numpy()
    return HeadAndTail(
        Dense(in_features, many, generator=generator, bound=bound),
        _build_fixed_fan_in(config, section, in_features, len(rows), lambda: features()[rows], device, generator),
        order,
    )


def _build_fixed_fan_in(
    config: c.TrainConfig,
    section: c.FixedFanInClassifier,
    in_features: int,
    num_labels: int,
    features: Callable[[], csr_matrix],
    device: torch.device,
    generator: torch.Generator,
) -> FixedFanIn:
    if section.fan_in > in_features:
        raise XMCError(
            f"classifier.fan_in={section.fan_in} exceeds the {in_features} features it can choose from; "
            f"set it to at most {in_features}, or widen the encoder or the intermediate layer"
        )
    dtype = getattr(torch, section.weight_dtype)
    backend, passed_over = resolve_backend(device, requested=section.backend, weight_dtype=dtype)
    reasons = "".join(f"; not {name}: {reason}" for name, reason in passed_over.items())
    threads = f"; threads: {torch.get_num_threads()}" if device.type == "cpu" else ""
    logger.info("classifier back end: %s%s%s", backend, threads, reasons)
    slots = config.sparsity.slots(section.fan_in, in_features)
    if config.sparsity.learns_beyond_output and section.group_size > 1:
        raise XMCError(
            f"sparsity={config.sparsity.kind} chooses by label; set classifier.group_size=1, or take another strategy"
        )
    order = None
    if section.group_size > 1:
        order = torch.from_numpy(order_by_group(features(), section.group_size, config.seed))
    index = init_index(math.ceil(num_labels / section.group_size), slots, in_features, config.seed)
    bound = build_parametrization(config).init_bound(section.fan_in)
    return FixedFanIn(
        *(in_features, index),
        backend=backend,
        generator=generator,
        order_L=order,
        dtype=dtype,
        bound=bound,
        active=section.fan_in,
    )


def build_parametrization(config: c.TrainConfig) -> Parametrization:
    """The rules by which initial weights and learning rates follow the number of connections."""
    section = config.parametrization
    if isinstance(section, c.StandardParametrization):
        return Standard()
    return SuPar(section.base_fan_in, section.base_width, section.exponent)


def build_auxiliary(
    config: c.TrainConfig, model: XMCModel, features: Callable[[], csr_matrix], generator: torch.Generator
) -> ClusterHead | None:
    if isinstance(config.auxiliary, c.NoAuxiliary):
        return None
    clusters = cluster_labels(features(), config.auxiliary.leaf_size, config.seed)
    return ClusterHead(model.classifier.in_features, torch.from_numpy(clusters), generator=generator).to(model.device)
