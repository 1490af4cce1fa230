"""Everything a run must remember to go on bit for bit: weights, topology, optimizers, random state, position."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import Tensor

from xmc.distributed import ALONE, OwnRows, Processes, Rows
from xmc.errors import XMCError
from xmc.model import XMCModel
from xmc.model.auxiliary import ClusterHead
from xmc.model.quantised import rounded, table_names
from xmc.model.sharded import is_divided
from xmc.model.tensor_file import fill
from xmc.ops.fan_in import choices
from xmc.sparsity.health import TopologyHealth
from xmc.sparsity.strategy import SparseLayer, Strategy
from xmc.train.checkpoint import Saved, Tensors
from xmc.train.optim import Optimizers


@dataclass
class Progress:
    """Where a run stands. step: optimizer steps done. batch: batches done of `epoch`. stale: evaluations in vain."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    step: int = 0
    epoch: int = 0
    batch: int = 0
    best_step: int | None = None
    best_metric: float | None = None
    stale: int = 0
    finished: bool = False


_PROGRESS, _SETTINGS = TypeAdapter(Progress), TypeAdapter(dict[str, dict[str, Any]])


@dataclass(frozen=True, slots=True)
class SparsePart:
    """A layer whose connections may change, what changes them, and how they fare. optimizer: name of the weights'."""

    layer: SparseLayer
    strategy: Strategy
    health: TopologyHealth
    optimizer: str


@dataclass
class TrainState:
    """The one object that a checkpoint holds.

    sparse: the sparse layers by name; that of the output layer is `classifier`. processes: that train the run together.
    Each has the rows of its labels, and all else is the same on all of them.
    """

    model: XMCModel
    auxiliary: ClusterHead | None
    optimizers: Optimizers
    sparse: dict[str, SparsePart]
    processes: Processes = ALONE
    progress: Progress = field(default_factory=Progress)

    def tensors(self) -> Saved:
        parts: dict[str, Mapping[str, Tensor | Rows]] = {
            "model": self._told_whose(self.model.state_dict()),
            "optimizer": self._optimizer_tensors(),
            "rng": random_state(self.model.device),
        }
        if self.auxiliary is not None:
            parts["auxiliary"] = self._told_whose(self.auxiliary.state_dict())
        for name, sparse in self.sparse.items():
            parts[f"strategy-{name}"] = sparse.strategy.tensors()
            parts[f"health-{name}"] = sparse.health.tensors()
        return {name: values for name, values in parts.items() if values}

    def scalars(self) -> dict[str, Any]:
        layer = self.model.classifier.sparse
        return {
            "progress": asdict(self.progress),
            "optimizer": self._optimizer_scalars(),
            "threads": torch.get_num_threads(),
            "processes": self.processes.size,
            "backend": None if layer is None else layer.serving,
            "tuned": choices(),
        }

    def rounded_model(self) -> dict[str, Tensor | Rows]:
        """The model's tensors as a run saves them at its end; see `quantised`."""
        return self._told_whose(rounded(self.model.state_dict(), table_names(self.model)))

    def load(self, tensors: Tensors, scalars: dict[str, Any]) -> None:
        """Take over what `tensors` and `scalars` gave.

        Raises:
            XMCError: they are not those of a run such as this one.
        """
        try:
            progress = _PROGRESS.validate_python(scalars["progress"])
            settings = _SETTINGS.validate_python(scalars["optimizer"])
        except (KeyError, ValidationError) as error:
            raise XMCError(
                f"state.json of the checkpoint is damaged ({str(error).splitlines()[0]}); delete its folder to go on "
                "from the one before"
            ) from None
        shard = self.processes.shard
        fill(self.model.state_dict(), OwnRows(tensors["model"], shard, is_divided))
        if self.auxiliary is not None:
            fill(self.auxiliary.state_dict(), OwnRows(tensors["auxiliary"], shard, is_divided))
        for name, sparse in self.sparse.items():
            sparse.strategy.load(tensors.get(f"strategy-{name}", {}))
            sparse.health.load(tensors[f"health-{name}"])
        saved_tensors = tensors.get("optimizer", {})
        divided = self._of_labels if self.processes.size > 1 else set()
        for name, i, parameter, state in self._slots():
            prefix = f"{name}.{i}."
            state.clear()
            for key in saved_tensors:
                if key.startswith(prefix):
                    value = saved_tensors[key]
                    if name in divided and value.dim():
                        value = value[shard(len(value)).rows].clone()
                    # A scalar such as Adam's step stays on the CPU, as torch itself keeps it.
                    device = parameter.device if value.dim() else torch.device("cpu")
                    state[key.removeprefix(prefix)] = value.to(device)
            state.update(settings.get(f"{name}.{i}", {}))
        self.progress = progress
        set_random_state(tensors["rng"], self.model.device)

    @property
    def _of_labels(self) -> set[str]:
        """Optimizers of classifier and auxiliary head, whose state has a row for each label or cluster."""
        modules = self.model.classifier, *([] if self.auxiliary is None else [self.auxiliary])
        own = {id(parameter) for module in modules for parameter in module.parameters()}
        return {name for name, _, parameter, _ in self._slots() if id(parameter) in own}

    def _told_whose(self, model: Mapping[str, Tensor]) -> dict[str, Tensor | Rows]:
        """Tensors of the model or the auxiliary head, those as rows of which other processes have some."""
        return {name: self.processes.rows(value) if is_divided(name) else value for name, value in model.items()}

    def _slots(self) -> list[tuple[str, int, Tensor, dict[str, Any]]]:
        return [
            (name, i, parameter, optimizer.state[parameter])
            for name, optimizer in self.optimizers.items()
            for i, parameter in enumerate(p for group in optimizer.param_groups for p in group["params"])
        ]

    def _optimizer_tensors(self) -> dict[str, Tensor | Rows]:
        of_labels = self._of_labels
        return {
            f"{name}.{i}.{key}": self.processes.rows(value) if name in of_labels and value.dim() else value
            for name, i, _, state in self._slots()
            for key, value in state.items()
            if isinstance(value, Tensor)
        }

    def _optimizer_scalars(self) -> dict[str, dict[str, Any]]:
        return {
            f"{name}.{i}": {k: v for k, v in state.items() if not isinstance(v, Tensor)}
            for name, i, _, state in self._slots()
        }


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Of torch, on the CPU and on the device."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: Mapping[str, Tensor], device: torch.device) -> None:
    """Go back to what `random_state` gave, maybe on a device of another kind."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
