"""What stands before the classifier: its bytes, and those that a step of it needs, found on the meta device."""

import contextlib
import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xmc import factory
from xmc.config import TrainConfig
from xmc.estimate.counts import Counts
from xmc.estimate.live import CudaAutocast, LiveBytes
from xmc.model.bag import BagConfig, BagModel
from xmc.model.sparse_ift import no_connections
from xmc.model.sparse_linear import SparseLinear
from xmc.parts.intermediate import IntermediateSite

_FLOAT = 4
_ENTRY = 2 * (8 + 4) + 8  # of a bag, by document and by row: its row or document, its weight; their order
_MALLOC = 1.3  # what glibc takes for a transformer's step over what it needs: gaps between blocks (measured)


@dataclass(frozen=True)
class Features:
    """Encoder and intermediate layer. width: D. All else in bytes.

    weights: buffers and index included. moments: of the optimizers. update: what their step takes and gives back.
    gradients: after the backward pass. saved: alive while the classifier works. forward, backward: at their peak, with
    the gradients. evaluation: of a pass over an evaluation batch. dense: of the gradients those that no table has.
    """

    width: int
    weights: int
    gradients: int
    moments: int
    update: int
    saved: int
    forward: int
    backward: int
    evaluation: int
    dense: int


def estimate_features(config: TrainConfig, counts: Counts, on_gpu: bool) -> Features:
    """Sizes of the parts before the classifier, of a step with `trainer.batch_size` and of evaluation."""
    trainer = config.trainer
    autocast = on_gpu and trainer.precision != "float32"
    model = _Model(config, on_gpu, autocast)
    size, evaluated = trainer.batch_size, factory.dev_batch_size(config)
    micro = min(trainer.micro_batch_size or size, size)
    bag = _bag_bytes(config, counts, micro, on_gpu)
    learning = [p for p in model.parameters() if p.requires_grad]
    inner = sum(p.nbytes for p in learning)
    largest = max((p.nbytes for p in learning), default=0)
    step = model.step(micro, again=micro < size)
    features_bytes = _FLOAT * size * model.width
    scale = _MALLOC if model.backbone is not None and not on_gpu else 1.0
    kept = 0 if micro < size else int(scale * step.saved) + bag.saved
    return Features(
        width=model.width,
        weights=sum(t.nbytes for t in (*model.parameters(), *model.buffers())) + bag.weights,
        gradients=inner + bag.gradient,
        moments=2 * inner + model.slot_steps + bag.moments,
        update=(inner if on_gpu else 2 * largest) + bag.update,
        saved=kept + features_bytes,
        forward=int(scale * step.forward) + bag.saved + features_bytes,
        backward=int(scale * step.backward) + bag.saved + bag.gradient + 2 * features_bytes,
        evaluation=int(scale * model.evaluation(evaluated)) + 4 * _FLOAT * evaluated * model.bag_width,
        dense=inner + bag.moments // 2,
    )


@dataclass(frozen=True)
class _Bag:
    weights: int = 0
    moments: int = 0
    gradient: int = 0
    update: int = 0
    saved: int = 0


def _bag_bytes(config: TrainConfig, counts: Counts, size: int, on_gpu: bool) -> _Bag:
    bag = config.encoder.bag
    if bag is None or counts.terms is None:
        return _Bag()
    bigrams = min(counts.terms.bigrams, bag.bigrams)
    rows = counts.terms.words + bigrams
    batch = size, config.encoder.max_length, bag.term_dropout
    touched, entries = min(rows, counts.terms.of_batch(*batch)), counts.terms.entries(*batch)
    with torch.device("meta"):
        thin = BagModel(BagConfig(2, 0, bag.mlp_width, hidden_size=bag.width))
    others = sum(p.nbytes for p in thin.parameters()) - thin.table.nbytes
    row = _FLOAT * bag.width
    per_document = 4 * row + 2 * _FLOAT * bag.mlp_width
    weights = rows * (row + _FLOAT * bag.of_text) + 8 * bigrams + others  # with frequencies, and the keys of bigrams
    gradient = entries * _ENTRY + size * row + others
    return _Bag(weights, 2 * others, gradient, touched * row * on_gpu + others, size * per_document)


@dataclass(frozen=True)
class _Step:
    """Peaks in bytes; backward with the gradients."""

    saved: int
    forward: int
    backward: int


class _Model:
    """Backbone and intermediate layer on the meta device; a bag is a leaf of its width."""

    def __init__(self, config: TrainConfig, on_gpu: bool, autocast: bool) -> None:
        section = config.encoder
        self._types = functools.partial(_types, on_gpu, autocast)
        self.bag_width = 0 if section.bag is None else section.bag.width
        self.backbone = section.on_meta(config.sparse_ift.build("encoder"), self._types)
        self.length = section.max_length if self.backbone is None else self.backbone.max_length
        in_features = self.bag_width + (0 if self.backbone is None else self.backbone.width)
        self.dropout = section.dropout
        site = IntermediateSite(in_features, config.sparse_ift.build("intermediate"), no_connections)
        with torch.device("meta"):
            self.intermediate = config.intermediate.build(site)
        self.width = self.intermediate.width
        self._modules = [m for m in (self.backbone, self.intermediate) if m is not None]
        sparse = [m for module in self._modules for m in module.modules() if isinstance(m, SparseLinear)]
        self.slot_steps = sum(2 * layer.weight.numel() for layer in sparse)
        self._parameters = [p for module in self._modules for p in module.parameters()]
        self._buffers = [b for module in self._modules for b in module.buffers()]
        for module in self._modules:
            _run_dense(module)

    def parameters(self) -> Sequence[Tensor]:
        """Of the layers as they are, not as they are run here."""
        return self._parameters

    def buffers(self) -> Sequence[Tensor]:
        return self._buffers

    def step(self, size: int, again: bool) -> _Step:
        """again: the peak of a second micro-batch, beside the gradients of the first."""
        for _ in range(1 + again):
            with LiveBytes() as live, self._types():
                features = self._features(size, True)
                saved, forward = live.now, live.peak
                if features.requires_grad:
                    features.backward(torch.empty_like(features))
                backward = live.peak
            del features
        held = sum(p.nbytes for p in self._parameters if p.requires_grad) if again else 0
        self._zero_grad()
        return _Step(saved, forward, backward + held)

    @torch.no_grad()
    def evaluation(self, size: int) -> int:
        with LiveBytes() as live, self._types():
            self._features(size, False)
        return live.peak

    def _features(self, size: int, training: bool) -> Tensor:
        for module in self._modules:
            module.train(training)
        ids = torch.zeros(size, self.length, dtype=torch.int64, device="meta")
        parts = [] if self.backbone is None else [self.backbone(ids, torch.ones_like(ids))]
        if self.bag_width:
            leaf = torch.empty(size, self.bag_width, device="meta", requires_grad=training)
            parts.append(nn.functional.dropout(leaf, self.dropout, training))
        joined = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        features: Tensor = self.intermediate(joined)
        return features.float()

    def _zero_grad(self) -> None:
        for module in self._modules:
            module.zero_grad()


def _types(on_gpu: bool, autocast: bool) -> contextlib.AbstractContextManager[object]:
    """What decides types and kernels."""
    return CudaAutocast(autocast) if on_gpu else contextlib.nullcontext()


def _run_dense(module: nn.Module) -> None:
    """Dense layers without gradients in the place of sparse ones, whose op knows no meta device."""
    for parent in list(module.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, SparseLinear):
                twin = nn.Linear(layer.in_features, layer.out_features, device="meta").requires_grad_(False)
                setattr(parent, name, twin)
