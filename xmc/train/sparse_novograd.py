"""NovoGrad for embedding tables with sparse gradients: one second moment for the whole table."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.optim import Optimizer


class SparseNovoGrad(Optimizer):
    """NovoGrad (Ginsburg et al., 2019, arXiv 1905.11286, algorithm 1) without momentum, for sparse gradients.

    A step is -lr * g / sqrt(v), with v the bias-corrected running mean of the mean square of the elements of the rows
    that have a gradient. All rows share v, so a rare row moves as little as its few gradients say; optimizers with a
    scale of their own a row or an element (Adagrad, Adam) let rare rows learn single documents by heart. A step reads
    and writes only the rows of the gradient, and the state is two numbers.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, beta: float = 0.99) -> None:
        super().__init__(params, {"lr": lr, "beta": beta})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update the rows that have a gradient."""
        if closure is not None:
            raise ValueError("SparseNovoGrad takes no closure")
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is not None:
                    self._update(table, group["lr"], group["beta"])

    def _update(self, table: Tensor, lr: float, beta: float) -> None:
        if table.grad is None or not table.grad.is_sparse:
            raise ValueError("SparseNovoGrad expects sparse gradients; use AdamW for dense ones")
        gradient = table.grad.coalesce()
        rows, values_RD = gradient.indices()[0], gradient.values()
        square = torch.linalg.vector_norm(values_RD).item() ** 2 / max(1, values_RD.numel())
        state = self.state[table]
        state["step"] = state.get("step", 0) + 1
        state["second_moment"] = beta * state.get("second_moment", 0.0) + (1 - beta) * square
        if state["second_moment"] > 0:
            root = (state["second_moment"] / (1 - beta ** state["step"])) ** 0.5
            table.index_add_(0, rows, values_RD, alpha=-lr / root)
