"""Adagrad with one accumulator a row, for embedding tables with sparse gradients."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.optim import Optimizer


class RowAdagrad(Optimizer):
    """Adagrad (Duchi et al., JMLR 2011) whose accumulator is the mean square of a row's gradient.

    A step reads and writes only the rows of the gradient, which must be sparse, and the state is one float a row: a
    table of V rows costs V * 4 bytes beside its weights, and a row that many documents touch learns ever slower.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, eps: float = 1e-10) -> None:
        super().__init__(params, {"lr": lr, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update the rows that have a gradient."""
        if closure is not None:
            raise ValueError("RowAdagrad takes no closure")
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is not None:
                    self._update(table, group["lr"], group["eps"])

    def _update(self, table: Tensor, lr: float, eps: float) -> None:
        if table.grad is None or not table.grad.is_sparse:
            raise ValueError("RowAdagrad expects sparse gradients; use AdamW for dense ones")
        gradient = table.grad.coalesce()
        rows, values_RD = gradient.indices()[0], gradient.values()
        state = self.state[table]
        if not state:
            state["sum"] = torch.zeros(table.shape[0], device=table.device)
        state["sum"].index_add_(0, rows, values_RD.square().mean(1))
        scale_R = -lr / (state["sum"][rows].sqrt() + eps)
        table.index_add_(0, rows, values_RD * scale_R[:, None])
