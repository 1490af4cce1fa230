"""The optimizers of a run: those of our own, and all together, whose state moves with the connections of layers."""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import SGD, AdamW, Optimizer

from xmc.model.bag import EmbeddingBag
from xmc.types import InPlaceUpdate

_LAST_STEP = torch.iinfo(torch.int16).max
_BLOCK = 1 << 18  # slots whose updates exist at once


class SlotAdamW(Optimizer):
    """AdamW (Loshchilov and Hutter, ICLR 2019) in which every slot counts its own steps.

    A new connection must start with zero moments *and* step 0: with zero moments under the layer's old step count, the
    bias corrections are gone and its first update is (1 - beta1) / sqrt(1 - beta2) = 3.2 times too large. Until a slot
    is reset this is AdamW. State: two moments like the parameter and an int16 step, 10 bytes a slot in float32. The
    count saturates at 32,767, where the corrections are 1 in float32.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})
        self._corrections: dict[tuple[float, torch.device], Tensor] = {}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        if closure is not None:
            raise ValueError("SlotAdamW takes no closure")
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group["lr"], group["betas"], group["eps"], group["weight_decay"])

    def _update(
        self, parameter: Tensor, lr: float, betas: tuple[float, float], eps: float, weight_decay: float
    ) -> None:
        state = self.state[parameter]
        if not state:
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
            state["slot_step"] = torch.zeros(parameter.shape, dtype=torch.int16, device=parameter.device)
        mean, square, steps = state["exp_avg"], state["exp_avg_sq"], state["slot_step"]
        assert parameter.grad is not None
        mean.lerp_(parameter.grad, 1 - betas[0])
        square.mul_(betas[1]).addcmul_(parameter.grad, parameter.grad, value=1 - betas[1])
        if weight_decay:
            parameter.mul_(1 - lr * weight_decay)
        of_mean, of_square = (self._correction(beta, parameter) for beta in betas)
        blocks = (slots.view(-1).split(_BLOCK) for slots in (parameter, mean, square, steps))
        for p, m, v, t in zip(*blocks, strict=True):
            count = t.add_(t < _LAST_STEP).int()
            root = (v / of_square[count]).sqrt_().add_(eps)
            p.sub_((m / of_mean[count]).div_(root), alpha=lr)

    def _correction(self, beta: float, parameter: Tensor) -> Tensor:
        """1 - beta^t for t = 0 .. 32,767."""
        key = (beta, parameter.device)
        if key not in self._corrections:
            exponents = torch.arange(_LAST_STEP + 1, dtype=torch.float64)
            self._corrections[key] = (1 - beta**exponents).to(parameter.device, parameter.dtype)
        return self._corrections[key]


class InPlaceSGD(Optimizer):
    """SGD without momentum that a classifier applies to itself while the labels stream by: no gradient, no moments.

    `update` is what the classifier's step needs for that; `step` only counts. seed: of the random numbers by which
    weights of bfloat16 are rounded; each step has its own.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, weight_decay: float = 0.0, seed: int = 0) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})
        self._seed = seed

    def update(self) -> InPlaceUpdate:
        """What is now in force."""
        group = self.param_groups[0]
        steps = self.state[group["params"][0]].get("step", 0)
        return InPlaceUpdate(group["lr"], group["weight_decay"], self._seed, steps)

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Count: the update was made."""
        assert all(p.grad is None for p in self.param_groups[0]["params"]), "the classifier was not given the update"
        state = self.state[self.param_groups[0]["params"][0]]
        state["step"] = state.get("step", 0) + 1


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


class Optimizers(dict[str, Optimizer]):
    """The optimizers of a run by name; `initial_lr` of each group is its schedule's peak."""

    # What each optimizer keeps a slot; an optimizer that is not here has state whose meaning is unknown.
    _KNOWN: ClassVar[dict[type[Optimizer], frozenset[str]]] = {
        SlotAdamW: frozenset({"exp_avg", "exp_avg_sq", "slot_step"}),
        SGD: frozenset({"momentum_buffer"}),
        InPlaceSGD: frozenset({"step"}),
    }

    @property
    def in_place_update(self) -> InPlaceUpdate | None:
        """The step that the classifier takes itself, where its optimizer leaves it to it."""
        optimizer = self["classifier"]
        return optimizer.update() if isinstance(optimizer, InPlaceSGD) else None

    def set_rates(self, multiplier: float) -> dict[str, float]:
        """Scale every peak learning rate; returns the rates now in force."""
        for optimizer in self.values():
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * multiplier
        return {name: optimizer.param_groups[0]["lr"] for name, optimizer in self.items()}

    def step(self) -> None:
        """One step of each, which spends the gradients."""
        for optimizer in self.values():
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def reset(self, parameter: Tensor, slots: Tensor) -> None:
        """Start the slots anew: zero moments, step 0. slots: bool, like the parameter.

        Raises:
            ValueError: no optimizer updates the parameter, or one whose state cannot be moved by slot.
        """
        for value in self._values_of(parameter):
            value.masked_fill_(slots, 0)

    def move(self, parameter: Tensor, sources: Tensor) -> None:
        """Give each slot the state of slot `sources` (int64, like the parameter) of its row; -1 starts it anew.

        Raises:
            ValueError: as `reset`.
        """
        for value in self._values_of(parameter):
            value.copy_(value.gather(1, sources.clamp(min=0)).masked_fill_(sources < 0, 0))

    def _values_of(self, parameter: Tensor) -> list[Tensor]:
        """What the parameter's optimizer keeps by slot."""
        of_groups = ((o, group) for o in self.values() for group in o.param_groups)
        owner = next((o for o, group in of_groups if any(p is parameter for p in group["params"])), None)
        if owner is None:
            raise ValueError("no optimizer updates this parameter; nothing could follow its slots")
        known = self._KNOWN.get(type(owner))
        if known is None:
            names = ", ".join(sorted(kind.__name__ for kind in self._KNOWN))
            hint = "; use SlotAdamW, which counts steps by slot" if isinstance(owner, AdamW) else ""
            raise ValueError(f"{type(owner).__name__} keeps state that does not move by slot; known: {names}{hint}")
        state = owner.state[parameter]
        if strange := sorted(set(state) - known):
            raise ValueError(f"{type(owner).__name__} keeps {strange[0]!r}, which does not move by slot")
        return [value for value in state.values() if isinstance(value, Tensor)]
