"""What stands behind the features: the classifier, its optimizer, its strategy, the auxiliary head."""

import math
from dataclasses import dataclass

import torch

from xmc.config import (
    SGD,
    DenseClassifier,
    FixedFanInClassifier,
    NoAuxiliary,
    TrainConfig,
)
from xmc.ops.fan_in import index_dtype, resolve_backend

_FLOAT, _LONG = 4, 8
_DENSE_BLOCK = 2048  # labels of a block of the dense baseline
_TOPK_BLOCK = 1 << 15  # labels that triton ranks at once
_ADAM_BLOCK = 1 << 18  # slots that SlotAdamW updates at once


@dataclass(frozen=True)
class Output:
    """In bytes. step, ranking: what the op needs beside what it is given. update: of the optimizer's step. rewiring: of
    the strategy. waiting: weights of Top-KAST on the host; mapped, where they lie in a file."""

    weights: int
    index: int
    gradients: int
    moments: int
    step: int
    update: int
    ranking: int
    rewiring: int
    waiting: int
    mapped: int

    def __add__(self, other: "Output") -> "Output":
        names = self.__dataclass_fields__
        return Output(**{name: getattr(self, name) + getattr(other, name) for name in names})


def estimate_output(config: TrainConfig, labels: int, width: int, on_gpu: bool) -> Output:
    """Of the classifier of so many labels over features of this width."""
    section = config.classifier
    adjusted = _FLOAT * labels * (config.trainer.logit_adjustment > 0)
    adjustment = Output(adjusted, 0, 0, 0, 0, 0, adjusted, 0, 0, 0)
    if isinstance(section, DenseClassifier):
        return _dense(config, section.optimizer.kind, _momentum(config), labels, width, on_gpu) + adjustment
    head = math.ceil(section.head * labels)
    tail = _fixed_fan_in(config, section, labels - head, width, on_gpu) + adjustment
    if not head:
        return tail
    order = Output(2 * _LONG * labels, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    return _dense(config, section.optimizer.kind, _momentum(config), head, width, on_gpu) + tail + order


def auxiliary_output(config: TrainConfig, labels: int, width: int, on_gpu: bool) -> Output | None:
    """Of the auxiliary head, whose clusters are halves of halves of the labels."""
    if isinstance(config.auxiliary, NoAuxiliary):
        return None
    clusters = 2 ** max(0, math.ceil(math.log2(labels / config.auxiliary.leaf_size)))
    head = _dense(config, "adamw", 0.0, clusters, width, on_gpu)
    return head + Output(_LONG * labels, 0, 0, 0, 0, 0, 0, 0, 0, 0)


def _dense(config: TrainConfig, optimizer: str, momentum: float, labels: int, width: int, on_gpu: bool) -> Output:
    """A dense layer: its op holds a block of logits three times, its optimizer a copy of the weight or two."""
    weight, bias = _FLOAT * labels * width, _FLOAT * labels
    moments = 2 * (weight + bias) if optimizer == "adamw" else (weight + bias) * (momentum > 0)
    copies = (1 if on_gpu else 2) if optimizer == "adamw" else 0
    block, batch = min(labels, _DENSE_BLOCK), config.trainer.batch_size
    return Output(
        weights=weight + bias,
        index=0,
        gradients=weight + bias,
        moments=moments,
        step=3 * _FLOAT * block * batch + 2 * _FLOAT * batch * width,
        update=copies * weight,
        ranking=4 * _FLOAT * block * evaluated(config),
        rewiring=0,
        waiting=0,
        mapped=0,
    )


def _fixed_fan_in(config: TrainConfig, section: FixedFanInClassifier, labels: int, width: int, on_gpu: bool) -> Output:
    learning = config.sparsity.slots(section.fan_in, width)
    slots = labels * learning
    dtype = getattr(torch, section.weight_dtype)
    groups = math.ceil(labels / section.group_size)
    optimizer, bias = section.optimizer, _FLOAT * labels
    order = 2 * _LONG * labels if section.group_size > 1 else 0
    in_place = isinstance(optimizer, SGD) and not optimizer.momentum
    adam = not isinstance(optimizer, SGD)
    moments = 10 * slots + 2 * bias if adam else 0 if in_place else _FLOAT * slots + bias
    update = 20 * min(slots, _ADAM_BLOCK) if adam else 0 if in_place else _FLOAT * slots * (optimizer.weight_decay > 0)
    device = "cuda" if on_gpu else "cpu"
    backend, _ = resolve_backend(device, requested=section.backend, weight_dtype=dtype)
    waiting, mapped = config.sparsity.waiting_bytes(labels, width)
    return Output(
        weights=slots * dtype.itemsize + bias + order,
        index=groups * learning * index_dtype(width).itemsize,
        gradients=0 if in_place else _FLOAT * slots + bias,
        moments=moments,
        step=_pass_bytes(backend, config.trainer.batch_size, width, device, slots if backend == "reference" else 0),
        update=update,
        ranking=_ranking_bytes(backend, evaluated(config), width, labels, max(config.metrics.ks)),
        rewiring=config.sparsity.rewiring_bytes(labels, groups, learning, width),
        waiting=waiting,
        mapped=mapped,
    )


def evaluated(config: TrainConfig) -> int:
    """Documents of a batch of dev."""
    return 4 * (config.trainer.micro_batch_size or config.trainer.batch_size)


def _pass_bytes(backend: str, batch: int, width: int, device: str, slots: int) -> int:
    """Of a training pass, by back end: features transposed, buffers of their gradient, blocks of labels."""
    features = _FLOAT * batch * width
    match backend:
        case "numba":
            table = _FLOAT * width * (8 if batch <= 8 else 16 * math.ceil(batch / 16))
            return table * (1 + min(16, max(1, (64 << 20) // table))) + 2 * features
        case "triton":
            return features + 2 * 2 * features + 2 * 2 * features  # transposed; as 64-bit integers; as float64
        case "torch":
            return 3 * (4 << 20 if device == "cpu" else 32 << 20) + 4 * features
    return 4 * _FLOAT * _DENSE_BLOCK * width + _FLOAT * slots + 2 * features


def _ranking_bytes(backend: str, batch: int, width: int, labels: int, k: int) -> int:
    """Of finding the best labels."""
    features = _FLOAT * batch * width
    match backend:
        case "numba":
            return features + 3 * 12 * k * batch
        case "triton":
            return features + 4 * _FLOAT * min(labels, _TOPK_BLOCK) * min(batch, 1024)
    return features + 4 * _FLOAT * min(labels, _DENSE_BLOCK) * batch


def _momentum(config: TrainConfig) -> float:
    optimizer = config.classifier.optimizer
    return optimizer.momentum if isinstance(optimizer, SGD) else 0.0
