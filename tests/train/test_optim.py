import copy
import math

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW

from xmc.train import optim
from xmc.train.optim import InPlaceSGD, Optimizers, SlotAdamW
from xmc.types import InPlaceUpdate


def train(parameter: nn.Parameter, optimizer: torch.optim.Optimizer, steps: int, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_equals_adamw_while_no_slot_is_reset(weight_decay: float) -> None:
    ours, theirs = (nn.Parameter(torch.linspace(-1, 1, 35).reshape(5, 7)) for _ in range(2))
    train(ours, SlotAdamW([ours], lr=0.01, weight_decay=weight_decay), 50)
    train(theirs, AdamW([theirs], lr=0.01, weight_decay=weight_decay), 50)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_blocks_of_slots_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, blocks = (nn.Parameter(torch.linspace(-1, 1, 999).reshape(37, 27)) for _ in range(2))
    train(whole, SlotAdamW([whole], lr=0.01, weight_decay=0.1), 20)
    monkeypatch.setattr(optim, "_BLOCK", 64)
    train(blocks, SlotAdamW([blocks], lr=0.01, weight_decay=0.1), 20)
    assert torch.equal(whole, blocks)


def test_a_reset_slot_learns_as_a_new_one() -> None:
    """After the reset, the slot's path equals that of a fresh optimizer; its neighbours' go on as before."""
    parameter = nn.Parameter(torch.zeros(2, 3))
    optimizer = SlotAdamW([parameter], lr=0.01)
    train(parameter, optimizer, 30)
    undisturbed = nn.Parameter(parameter.detach().clone())
    twin = SlotAdamW([undisturbed], lr=0.01)
    twin.state[undisturbed] = copy.deepcopy(optimizer.state[parameter])
    fresh = nn.Parameter(parameter.detach().clone())

    slots = torch.tensor([[False, True, False], [True, False, False]])
    Optimizers(weights=optimizer).reset(parameter, slots)
    for p, o in ((parameter, optimizer), (undisturbed, twin), (fresh, SlotAdamW([fresh], lr=0.01))):
        train(p, o, 20, seed=1)
    assert torch.equal(parameter[slots], fresh[slots])
    assert torch.equal(parameter[~slots], undisturbed[~slots])


def test_the_trap_of_a_shared_step_count() -> None:
    """Zero moments under the old step count make the first update (1 - b1) / sqrt(1 - b2) = 3.2 times too large."""
    parameter = nn.Parameter(torch.zeros(1))
    shared = AdamW([parameter], lr=0.01, weight_decay=0.0)
    for _ in range(20_000):
        parameter.grad = torch.ones(1)
        shared.step()
    state = shared.state[parameter]
    state["exp_avg"].zero_()
    state["exp_avg_sq"].zero_()
    before = parameter.item()
    parameter.grad = torch.ones(1)
    shared.step()
    trap = abs(parameter.item() - before) / 0.01

    ours = nn.Parameter(torch.zeros(1))
    optimizer = SlotAdamW([ours], lr=0.01)
    for _ in range(20_000):
        ours.grad = torch.ones(1)
        optimizer.step()
    Optimizers(weights=optimizer).reset(ours, torch.tensor([True]))
    before = ours.item()
    ours.grad = torch.ones(1)
    optimizer.step()
    assert trap == pytest.approx(0.1 / math.sqrt(0.001), rel=0.01)
    assert abs(ours.item() - before) / 0.01 == pytest.approx(1.0, rel=0.01)


def test_the_step_count_saturates() -> None:
    parameter = nn.Parameter(torch.zeros(2))
    optimizer = SlotAdamW([parameter], lr=0.01)
    train(parameter, optimizer, 1)
    optimizer.state[parameter]["slot_step"].fill_(32_767)
    train(parameter, optimizer, 2)
    assert optimizer.state[parameter]["slot_step"].tolist() == [32_767, 32_767]
    assert torch.isfinite(parameter).all()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd(momentum: float) -> None:
    parameter = nn.Parameter(torch.zeros(2, 2))
    optimizer = SGD([parameter], lr=0.1, momentum=momentum)
    train(parameter, optimizer, 3)
    Optimizers(weights=optimizer).reset(parameter, torch.tensor([[True, False], [False, False]]))
    if momentum:
        buffer = optimizer.state[parameter]["momentum_buffer"]
        assert buffer[0, 0] == 0
        assert (buffer.flatten()[1:] != 0).all()


def test_sgd_in_place_only_counts() -> None:
    parameter = nn.Parameter(torch.zeros(2))
    optimizer = InPlaceSGD([parameter], lr=0.1, weight_decay=0.2, seed=3)
    assert optimizer.update() == InPlaceUpdate(0.1, 0.2, seed=3, step=0)
    parameter.grad = torch.ones(2)
    with pytest.raises(AssertionError, match="the classifier was not given the update"):
        optimizer.step()
    parameter.grad = None
    optimizer.step()
    Optimizers(weights=optimizer).reset(parameter, torch.tensor([True, False]))
    assert optimizer.update() == InPlaceUpdate(0.1, 0.2, seed=3, step=1)
    assert parameter.tolist() == [0, 0]


@pytest.mark.parametrize("kind", [Adam, AdamW])
def test_unknown_state_is_refused(kind: type[torch.optim.Optimizer]) -> None:
    parameter = nn.Parameter(torch.zeros(2))
    optimizer = kind([parameter], lr=0.1)  # type: ignore[call-arg]
    train(parameter, optimizer, 1)
    with pytest.raises(
        ValueError, match=rf"{kind.__name__} keeps state that does not move by slot; known: InPlaceSGD, SGD, SlotAdamW"
    ):
        Optimizers(weights=optimizer).reset(parameter, torch.tensor([True, False]))


def test_a_parameter_without_optimizer_is_refused() -> None:
    with pytest.raises(ValueError, match="no optimizer updates this parameter"):
        Optimizers().reset(torch.zeros(1), torch.tensor([True]))
