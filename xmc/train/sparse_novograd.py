"""NovoGrad for the tables of embedding bags: one second moment for the whole table."""

from collections.abc import Callable, Iterable

import torch
from torch.optim import Optimizer

from xmc.model.embedding_bag import EmbeddingBag


class SparseNovoGrad(Optimizer):
    """NovoGrad (Ginsburg et al., 2019, arXiv 1905.11286, algorithm 1) without momentum, for tables of embedding bags.

    A step is -lr * g / sqrt(v), with v the bias-corrected running mean of the mean square of the elements of the rows
    that have a gradient. All rows share v, so a rare row moves as little as its few gradients say; optimizers with a
    scale of their own a row or an element (Adagrad, Adam) let rare rows learn single documents by heart. A step reads
    and writes only the rows of the gradient, and the state is two numbers. The bags keep their gradients in factors
    from now on.
    """

    def __init__(self, bags: Iterable[EmbeddingBag], lr: float, beta: float = 0.99) -> None:
        self._bags = list(bags)
        for bag in self._bags:
            bag.in_factors = True
        super().__init__([bag.table for bag in self._bags], {"lr": lr, "beta": beta})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update the rows that have a gradient."""
        if closure is not None:
            raise ValueError("SparseNovoGrad takes no closure")
        for bag in self._bags:
            if bag.gradient is not None:
                self._update(bag, self.param_groups[0]["lr"], self.param_groups[0]["beta"])

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for bag in self._bags:
            bag.gradient = None

    def _update(self, bag: EmbeddingBag, lr: float, beta: float) -> None:
        assert bag.gradient is not None
        state = self.state[bag.table]
        state["step"] = state.get("step", 0) + 1
        state["second_moment"] = beta * state.get("second_moment", 0.0) + (1 - beta) * bag.gradient.mean_square
        if state["second_moment"] > 0:
            root = (state["second_moment"] / (1 - beta ** state["step"])) ** 0.5
            bag.gradient.add_to_(bag.table, -lr / root)
