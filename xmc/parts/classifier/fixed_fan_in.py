"""The sparse classifier, maybe with a dense head of the most frequent labels."""

import logging
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import model_validator

from xmc.errors import XMCError
from xmc.part import Choice, Range, around
from xmc.parts.classifier import ClassifierSection
from xmc.parts.optimizer import OPTIMIZER, SGD, OptimizerSection
from xmc.parts.output import DENSE_BLOCK, FLOAT, LONG, Load, OutputBytes, OutputSite, dense_memory
from xmc.values import Count, Share

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from xmc.model.classifier import Classifier, FixedFanIn

logger = logging.getLogger(__name__)

_TOPK_BLOCK = 1 << 15  # labels that triton ranks at once


class FixedFanInClassifier(ClassifierSection):
    """Each label keeps fan_in connections out of the features' width."""

    compiles: ClassVar[bool] = True
    suits_recipe: ClassVar[bool] = True

    kind: Literal["fixed_fan_in"] = "fixed_fan_in"
    fan_in: Count = 128
    group_size: Count = 1
    """similar labels that share their connections; 16 to 64 are faster, 1 is the most accurate"""
    head: Share = 0.0
    """share of the labels, the most frequent ones, that see every feature; an alternative to auxiliary"""
    weight_dtype: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: half the memory; needs classifier/optimizer=sgd"""
    backend: Literal["auto", "numba", "triton", "torch", "reference"] = "auto"
    optimizer: Annotated[OptimizerSection, OPTIMIZER] = OPTIMIZER.default("adamw")

    @model_validator(mode="after")
    def _bfloat16_learns_in_place(self) -> "FixedFanInClassifier":
        if self.weight_dtype == "bfloat16" and not self.optimizer.in_place:
            raise ValueError(
                "classifier.weight_dtype=bfloat16 needs an update that rounds stochastically, which only SGD in place "
                "has; add classifier/optimizer=sgd with classifier.optimizer.momentum=0, or take float32"
            )
        return self

    @property
    def groups_labels(self) -> bool:
        return self.group_size > 1

    def build(self, site: OutputSite) -> "Classifier":
        from xmc.model.dense import Dense
        from xmc.model.head_and_tail import HeadAndTail, most_frequent_first

        labels = len(site.label_counts)
        many = math.ceil(self.head * labels)
        if many == 0:
            return self._build_sparse(site, labels, site.label_features)
        if many == labels:
            raise XMCError(
                f"classifier.head={self.head} leaves no label to the sparse tail; lower it, or take classifier=dense"
            )
        order = most_frequent_first(site.label_counts)
        rows = order[many:].numpy()
        shard = site.processes.shard_of_labels(many, "labels of classifier.head")
        bound = site.parametrization.init_bound(site.in_features)
        return HeadAndTail(
            Dense(site.in_features, many, generator=site.generator, bound=bound, shard=shard),
            self._build_sparse(site, len(rows), lambda: site.label_features()[rows]),
            order,
            many,
        )

    def undivided(self) -> str | None:
        if self.groups_labels:
            return "classifier.group_size puts all labels in an order of its own; set it to 1"
        return None

    def _build_sparse(self, site: OutputSite, labels: int, features: "Callable[[], csr_matrix]") -> "FixedFanIn":
        import torch

        from xmc.model.classifier import FixedFanIn
        from xmc.model.clustering import order_by_group
        from xmc.ops.fan_in import resolve_backend
        from xmc.sparsity.topology import init_index

        self.check(site.in_features)
        dtype = getattr(torch, self.weight_dtype)
        backend, passed_over = resolve_backend(site.device, requested=self.backend, weight_dtype=dtype)
        reasons = "".join(f"; not {name}: {reason}" for name, reason in passed_over.items())
        threads = f"; threads: {torch.get_num_threads()}" if site.device.type == "cpu" else ""
        measured = ", or torch where it is faster" if (self.backend, backend) == ("auto", "triton") else ""
        logger.info("classifier back end: %s%s%s%s", backend, measured, threads, reasons)
        if site.sparsity.learns_beyond_output and self.groups_labels:
            raise XMCError(
                f"sparsity={site.sparsity.kind} chooses by label; set classifier.group_size=1, or take another strategy"
            )
        slots, shard = site.sparsity.slots(self.fan_in, site.in_features), site.processes.shard_of_labels(labels)
        groups = math.ceil(len(shard) / self.group_size)
        order = None
        if self.groups_labels:
            order = torch.from_numpy(order_by_group(features(), self.group_size, site.seed))
        return FixedFanIn(
            site.in_features,
            init_index(groups, slots, site.in_features, site.seed, offset=shard.start),
            backend=self.backend,
            generator=site.generator,
            order_L=order,
            dtype=dtype,
            bound=site.parametrization.init_bound(self.fan_in),
            active=self.fan_in,
            shard=shard,
        )

    def check(self, in_features: int) -> None:
        if self.fan_in > in_features:
            raise XMCError(
                f"classifier.fan_in={self.fan_in} exceeds the {in_features} features it can choose from; "
                f"set it to at most {in_features}, or widen the encoder or the intermediate layer"
            )

    @classmethod
    def inherited(cls, trained: "Classifier") -> dict[str, Any] | None:
        from xmc.model.head_and_tail import HeadAndTail

        if (layer := trained.sparse) is None:
            return None
        head = trained.head.num_labels if isinstance(trained, HeadAndTail) else 0
        return {"fan_in": layer.active, "head": head / trained.num_labels, "group_size": 1}

    def with_fan_in(self, fan_in: int) -> Self | None:
        return None if self.head else self.model_copy(update={"fan_in": fan_in})

    def memory(self, labels: int, load: Load) -> OutputBytes:
        head = math.ceil(self.head * labels)
        tail = self._sparse_memory(labels - head, load)
        if not head:
            return tail
        order = OutputBytes(weights=2 * LONG * labels * load.devices)  # of all labels, on each
        return tail + dense_memory(head, load, self.optimizer) + order

    def _sparse_memory(self, labels: int, load: Load) -> OutputBytes:
        import torch

        from xmc.ops.fan_in import index_dtype, resolve_backend

        learning = load.sparsity.slots(self.fan_in, load.width)
        slots, groups = labels * learning, math.ceil(labels / self.group_size)
        moments, update = self.optimizer.sparse_bytes(slots, labels)
        dtype, device = getattr(torch, self.weight_dtype), "cuda" if load.on_gpu else "cpu"
        backend, _ = resolve_backend(device, requested=self.backend, weight_dtype=dtype)
        waiting, mapped = load.sparsity.waiting_bytes(labels, load.width)
        order = 2 * LONG * labels if self.groups_labels else 0
        return OutputBytes(
            weights=slots * dtype.itemsize + FLOAT * labels + order,
            index=groups * learning * index_dtype(load.width).itemsize,
            gradients=0 if self.optimizer.in_place else FLOAT * (slots + labels),
            moments=moments,
            step=_pass_bytes(backend, load, device, labels, learning),
            update=update,
            ranking=_ranking_bytes(backend, load, labels),
            rewiring=load.sparsity.rewiring_bytes(labels, groups, learning, load.width),
            waiting=waiting,
            mapped=mapped,
        )

    def beyond_estimates(self, load: Load) -> list[str]:
        return [*load.sparsity.beyond_estimates(self.fan_in, load.width)]

    def cost(self, labels: int, width: int) -> tuple[int, int, int]:
        from xmc.ops.fan_in import index_dtype

        head = math.ceil(self.head * labels)
        tail = labels - head
        slot = 2 if self.weight_dtype == "bfloat16" else FLOAT
        index = math.ceil(tail / self.group_size) * self.fan_in * index_dtype(width).itemsize
        weights = FLOAT * head * width + slot * tail * self.fan_in + FLOAT * labels
        return head * width + tail * self.fan_in, weights, index

    def remedies(self) -> Iterator[tuple[str, dict[str, Any]]]:
        in_place = {"classifier.optimizer": SGD().model_dump()}
        yield "classifier/optimizer=sgd", in_place
        narrow = in_place | {"classifier.weight_dtype": "bfloat16"}
        yield "classifier/optimizer=sgd classifier.weight_dtype=bfloat16", narrow
        if not self.groups_labels:
            yield "classifier.group_size=32", {"classifier.group_size": 32}
        yield f"classifier.fan_in={self.fan_in // 2}", {"classifier.fan_in": self.fan_in // 2}

    def searched(self) -> Iterator[tuple[str, Choice | Range]]:
        yield "classifier.fan_in", around(self.fan_in)


def _pass_bytes(backend: str, load: Load, device: str, labels: int, slots: int) -> int:
    """Of a training pass, by back end: features transposed, buffers of their gradient, blocks of labels.

    slots: of a label.
    """
    width, features = load.width, FLOAT * load.batch * load.width
    match backend:
        case "numba":
            table = FLOAT * width * (8 if load.batch <= 8 else 16 * math.ceil(load.batch / 16))
            return table * (1 + min(16, max(1, (64 << 20) // table))) + 2 * features
        case "triton":
            # transposed, sums as integers and floats, their total; densified, a block of labels, parts of the sums
            block = min(FLOAT * labels * load.batch, 32 << 20) + FLOAT * min(labels, 1 << 17) * slots
            return features * (1 + 2 + 1 + 2) + block + (24 << 20)
        case "torch":
            return 3 * (4 << 20 if device == "cpu" else 32 << 20) + 4 * features
    return 4 * FLOAT * DENSE_BLOCK * width + FLOAT * labels * slots + 2 * features


def _ranking_bytes(backend: str, load: Load, labels: int) -> int:
    """Of finding the best labels."""
    features = FLOAT * load.evaluated * load.width
    match backend:
        case "numba":
            return features + 3 * 12 * load.k * load.evaluated
        case "triton":
            return features + 4 * FLOAT * min(labels, _TOPK_BLOCK) * min(load.evaluated, 1024)
    return features + 4 * FLOAT * min(labels, DENSE_BLOCK) * load.evaluated
