"""What the first step of a run takes beside the others, done before it."""

import torch

from xmc.model.precision import computing_type
from xmc.ops.fan_in import fan_in_loss, fan_in_sgd_step, rehearsal
from xmc.train.state import TrainState
from xmc.types import Positives


def warm_up(state: TrainState, documents: int) -> None:
    """On a GPU, choose how the classifier makes its step on so many documents, and compile that; nothing learns.

    Timing takes memory, which the optimizers' state, gradients and activations do not fill yet.
    """
    model, layer, update = state.model, state.model.classifier.sparse, state.optimizers.in_place_update
    if layer is None or model.device.type != "cuda":
        return
    dtype = computing_type(model.precision, model.device)
    features = torch.zeros(documents, layer.in_features, dtype=dtype, device=model.device)
    none = torch.zeros(documents + 1, dtype=torch.int64, device=model.device)
    positives, part = Positives(none, none[:0]), rehearsal(layer.connections)
    if update is None:
        fan_in_loss(features, part, positives, model.loss, backend=layer.backend)
    else:
        fan_in_sgd_step(features, part, positives, model.loss, update, backend=layer.backend)
