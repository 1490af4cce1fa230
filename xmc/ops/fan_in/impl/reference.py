"""The specification: densify a block of labels, multiply. Any device, any floating type.

Every other back end is tested against it. Half precision multiplies as it is; sums over blocks and the loss are
float32.
"""

import torch
from torch import Tensor

from xmc.ops.blocks import label_blocks, label_slices
from xmc.ops.counter_rng import rounded
from xmc.ops.fan_in.backend import Backend, update_
from xmc.ops.losses import loss_and_gradient_, wide
from xmc.ops.topk import StreamingTopK
from xmc.types import FanIn, InPlaceUpdate, Positives, StepOutput, TopK
from xmc.values import LossName

_BLOCK = 1024


class ReferenceBackend(Backend):
    def lacks(self, device: torch.device, dtype: torch.dtype, weight_dtype: torch.dtype) -> str | None:
        return None

    def linear(self, features: Tensor, layer: FanIn) -> Tensor:
        blocks = label_slices(len(layer), _BLOCK)
        return torch.cat([_logits(features, _dense(features, layer, s), layer.bias[s]) for s in blocks], dim=1)

    def linear_backward(self, gradient: Tensor, features: Tensor, layer: FanIn) -> tuple[Tensor, Tensor, Tensor]:
        grad_features = torch.zeros_like(features, dtype=wide(features))
        grad_weight = torch.empty_like(layer.weight)
        for s in label_slices(len(layer), _BLOCK):
            block_gradient = gradient[:, s].to(features.dtype)
            grad_features += block_gradient @ _dense(features, layer, s)
            grad_weight[s] = (block_gradient.T @ features).gather(1, layer.columns(s).long())
        return grad_features.to(features.dtype), grad_weight, gradient.sum(0).to(wide(layer.weight))

    def loss(self, features: Tensor, layer: FanIn, positives: Positives, loss: LossName) -> StepOutput:
        total = torch.zeros((), dtype=torch.float64, device=features.device)
        grad_features = torch.zeros_like(features, dtype=wide(features))
        grad_weight, grad_bias = torch.empty_like(layer.weight, dtype=wide(layer.weight)), torch.empty_like(layer.bias)
        for block in label_blocks(positives, layer.label_offset, len(layer), _BLOCK):
            s = block.labels
            dense = _dense(features, layer, s)
            logits = _logits(features, dense, layer.bias[s])
            losses, gradient = loss_and_gradient_(logits, (block.document, block.label), loss)
            total += losses.sum() / len(features)
            gradient = gradient / len(features)
            grad_bias[s] = gradient.sum(0)
            gradient = gradient.to(features.dtype)
            grad_features += gradient @ dense
            grad_weight[s] = (gradient.T @ features).gather(1, layer.columns(s).long())
        return StepOutput(total.to(wide(features)), grad_features.to(features.dtype), grad_weight, grad_bias)

    def sgd_step(
        self,
        features: Tensor,
        layer: FanIn,
        positives: Positives,
        loss: LossName,
        update: InPlaceUpdate,
        applies: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        out, weight = self.loss(features, layer, positives, loss), layer.weight
        stepped = weight.to(wide(weight)) * (1 - update.lr * update.weight_decay) - update.lr * out.grad_weight
        update_(weight, rounded(stepped, weight.dtype, (update.seed, update.step), layer.label_offset), applies)
        update_(layer.bias, layer.bias.sub(out.grad_bias, alpha=update.lr), applies)
        return out.loss, out.grad_features

    def topk(self, features: Tensor, layer: FanIn, k: int) -> TopK:
        best = StreamingTopK(k)
        for s in label_slices(len(layer), _BLOCK):
            best.add(_logits(features, _dense(features, layer, s), layer.bias[s]), layer.label_offset + s.start)
        return best.result()


def _dense(features: Tensor, layer: FanIn, labels: slice) -> Tensor:
    """The active weights of a block of labels spread over [l, D]; repeated columns add up."""
    weight, columns = layer.active_connections(labels)
    dense = features.new_zeros(len(weight), features.shape[1])
    return dense.scatter_add_(1, columns.long(), weight.to(features.dtype))


def _logits(features: Tensor, dense: Tensor, bias: Tensor) -> Tensor:
    return (features @ dense.T).to(wide(features)) + bias
