import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ops.cases import SERVING, dtype_of, make_positives, random_layer
from torch.utils._python_dispatch import TorchDispatchMode

from xmc.ops.dense import dense_loss
from xmc.ops.fan_in import FanIn, fan_in_linear, fan_in_loss, fan_in_sgd_step, fan_in_topk
from xmc.types import InPlaceUpdate, Positives


def arguments(**changes: Any) -> dict[str, Any]:
    """Of `fan_in_loss`. changes: of these, or of fields of the layer."""
    features, layer, _ = random_layer(2, 6, 8, 3, 0)
    of_layer = {name: changes.pop(name) for name in FanIn.__slots__ if name in changes}
    given: dict[str, Any] = {
        "features_BD": features,
        "layer": replace(layer, **of_layer),
        "positives": make_positives([[0], [1, 5]]),
        "loss": "bce",
    }
    return given | changes


def offsets(*values: int) -> Positives:
    return Positives(torch.tensor(values), torch.tensor([0, 1, 5]))


INDEX = arguments()["layer"].index

MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "features rank": ({"features_BD": torch.zeros(8)}, r"features: expected rank 2, got shape \(8,\)"),
    "features dtype": ({"features_BD": torch.zeros(2, 8, dtype=torch.int64)}, "features: expected .*float32.*int64"),
    "no documents": ({"features_BD": torch.zeros(0, 8)}, r"features: expected at least one row.*\(0, 8\)"),
    "strided": ({"features_BD": torch.zeros(8, 2).T}, r"features: expected a contiguous tensor, got strides \(1, 2\)"),
    "no labels": ({"weight": torch.zeros(0, 3)}, "weight: expected at least one row"),
    "fan-in": ({"weight": torch.zeros(6, 9).double()}, "weight: expected fan-in K <= D = 8, got K = 9"),
    "weight device": ({"weight": torch.zeros(6, 3, device="meta")}, "weight: .*the device .*cpu, got meta"),
    "bias shape": ({"bias": torch.zeros(5)}, r"bias: expected shape \(6,\), got \(5,\)"),
    "bias dtype": ({"bias": torch.zeros(6)}, "bias: expected torch.float64, got torch.float32"),
    "index dtype": ({"index": INDEX.long()}, "index: expected torch.int16, got torch.int64"),
    "index shape": ({"index": INDEX[:, :2].contiguous()}, r"index: expected shape \('any', 3\), got \(6, 2\)"),
    "index rows": (
        {"index": INDEX[:5]},
        "index: expected a row for each of the 6 labels, or .* n of them, got 5 rows",
    ),
    "index surplus": ({"index": INDEX.repeat(2, 1)}, "index: expected a row for each of the 6 labels.* got 12 rows"),
    "index too large": ({"index": INDEX.clone().fill_(8)}, r"index: .*in \[0, 8\), got columns from 8 to 8"),
    "index negative": ({"index": INDEX.clone().fill_(-1)}, r"index: .*got columns from -1 to -1"),
    "rows": ({"positives": make_positives([[0]])}, "positives: expected one row for each of the 2 documents, got 1"),
    "negative label": ({"positives": make_positives([[-3], [1]])}, "labels: expected labels >= 0, got label -3"),
    "offsets end": ({"positives": offsets(0, 1, 2)}, "positives.offsets: expected an ascending run from 0 to 3"),
    "offsets fall": ({"positives": offsets(0, 4, 3)}, "positives.offsets: expected an ascending run from 0 to 3"),
    "loss": ({"loss": "hinge"}, "loss: expected bce or squared_hinge, got 'hinge'"),
    "label_offset": ({"label_offset": -1}, r"label_offset: expected an integer in \[0, \d+\], got -1"),
    "label ids of 64 bits": ({"label_offset": 2**63 - 5}, f"label_offset: .*{2**63 - 6}\\], got {2**63 - 5}"),
    "active": ({"active": 4}, r"active: expected an integer in \[1, 3\], got 4"),
    "backend": ({"backend": "best"}, "backend: expected auto or one of"),
}


@pytest.mark.parametrize("changes, message", MISTAKES.values(), ids=MISTAKES.keys())
def test_names_the_argument(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fan_in_loss(**arguments(**changes))


@pytest.mark.parametrize("function", [fan_in_linear, lambda *given, backend: fan_in_topk(*given, 5, backend=backend)])
@pytest.mark.parametrize("backend", SERVING)
@pytest.mark.parametrize("group_size", [1, 16])
@pytest.mark.parametrize("width", [40, 40_000])
@pytest.mark.parametrize("fan_in", [3, 37])
def test_readers_check_every_column(
    function: Callable[..., object], backend: str, group_size: int, width: int, fan_in: int
) -> None:
    shape = (2, 300 * group_size - group_size // 2, width, fan_in)
    features, layer, _ = random_layer(*shape, 0, duplicates=True, group_size=group_size, dtype=dtype_of(backend))
    function(features, layer, backend=backend)
    index = layer.index
    wrong = [(group, slot, -1) for group, slot in itertools.product([0, 127, 128, 299], [0, fan_in - 1])]
    for group, slot, column in [*wrong, (128, 0, -(2**15)), (299, fan_in - 1, width)]:
        kept = int(index[group, slot])
        index[group, slot] = column
        with pytest.raises(ValueError, match=rf"index: expected columns in \[0, {width}\), got columns from"):
            function(features, layer, backend=backend)
        index[group, slot] = kept


def test_topk_wants_a_k_of_31_bits() -> None:
    given = arguments()
    del given["positives"], given["loss"]
    for k in (0, 2**31):
        with pytest.raises(ValueError, match=rf"k: expected an integer in \[1, {2**31 - 1}\], got {k}"):
            fan_in_topk(**given | {"k": k})


@pytest.mark.parametrize("name", ["lr", "weight_decay"])
@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), 1e39, "0.1"])
def test_sgd_step_wants_rates_that_are_no_nonsense(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name}: expected a finite number >= 0"):
        fan_in_sgd_step(**arguments(update=InPlaceUpdate(**{"lr": 0.1, name: value})))


@pytest.mark.parametrize("name", ["seed", "step"])
@pytest.mark.parametrize("value", [-1, 2**64, 1.0])
def test_sgd_step_wants_random_numbers_of_64_bits(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"{name}: expected an integer in \[0, {2**64 - 1}\], got {value}"):
        fan_in_sgd_step(**arguments(update=InPlaceUpdate(**{"lr": 0.1, name: value})))


def test_sgd_step_wants_a_decay_that_is_a_number() -> None:
    with pytest.raises(ValueError, match=r"lr \* weight_decay: expected a finite number"):
        fan_in_sgd_step(**arguments(update=InPlaceUpdate(1e30, 1e30)))
    fan_in_sgd_step(**arguments(update=InPlaceUpdate(1e-30, 1e30)))


@pytest.mark.parametrize("pair", [("weight", "bias"), ("weight", "features"), ("bias", "features")], ids="-".join)
def test_sgd_step_wants_memory_of_its_own_for_what_it_writes(pair: tuple[str, str]) -> None:
    features, layer, _ = random_layer(2, 6, 8, 3, 0)
    given = {"features": features, "weight": layer.weight, "bias": layer.bias}
    written, other = given[pair[0]], given[pair[1]]
    shared = torch.zeros(written.nbytes + other.nbytes, dtype=torch.uint8)
    given[pair[0]] = shared[: written.nbytes].view(written.dtype).view(written.shape)

    def step(of_other: torch.Tensor) -> None:
        changes = given | {pair[1]: of_other}
        fan_in_sgd_step(**arguments(features_BD=changes.pop("features"), update=InPlaceUpdate(0.1), **changes))

    step(shared[written.nbytes :].view(other.dtype).view(other.shape))
    across = shared[written.nbytes - 8 :][: other.nbytes].view(other.dtype).view(other.shape)
    with pytest.raises(ValueError, match=f"{pair[0]}: expected memory of its own.*give a clone of {pair[1]}"):
        step(across)


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
@pytest.mark.parametrize("name", ["weight", "bias"])
def test_sgd_step_wants_memory_that_it_may_write(name: str, tmp_path: Path) -> None:
    def step(written: torch.Tensor) -> None:
        fan_in_sgd_step(**arguments(update=InPlaceUpdate(0.1), **{name: written}))

    before = getattr(arguments()["layer"], name).numpy()
    np.save(tmp_path / "saved.npy", before)
    mapped = torch.from_numpy(np.load(tmp_path / "saved.npy", mmap_mode="r"))
    with pytest.raises(ValueError, match=f"{name}: expected memory that may be written; give a clone"):
        step(mapped)
    step(mapped.clone())
    step(torch.from_numpy(np.load(tmp_path / "saved.npy", mmap_mode="c")))  # copied on write
    assert np.array_equal(np.load(tmp_path / "saved.npy"), before)


class ColumnChecks(TorchDispatchMode):
    """Counts how often the bounds of an index are looked for."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten.aminmax.default and args[0].dtype == torch.int16
        return func(*args, **(kwargs or {}))


def test_columns_are_checked_when_they_change() -> None:
    given = arguments(update=InPlaceUpdate(0.1))
    index = given["layer"].index
    with ColumnChecks() as checks:
        for _ in range(3):
            fan_in_sgd_step(**given)
        assert checks.count == 1
        index[2, 1] = 0
        fan_in_sgd_step(**given)
        fan_in_sgd_step(**given)
        assert checks.count == 2
    index[2, 1] = 8
    for _ in range(2):
        with pytest.raises(ValueError, match=r"index: .*in \[0, 8\), got columns from"):
            fan_in_sgd_step(**given)
    index[2, 1] = 0
    fan_in_sgd_step(**given)
    index.data = torch.full_like(index, 8)
    with pytest.raises(ValueError, match=r"index: .*in \[0, 8\), got columns from 8 to 8"):
        fan_in_sgd_step(**given)


def test_columns_fit_the_features_at_hand() -> None:
    given = arguments()
    fan_in_loss(**given)
    width = int(given["layer"].index.max())
    narrower = given["features_BD"][:, :width].contiguous()
    with pytest.raises(ValueError, match=rf"index: expected columns in \[0, {width}\)"):
        fan_in_loss(**given | {"features_BD": narrower})


def test_an_index_made_for_inference_is_checked_each_time() -> None:
    """It does not tell whether it changed."""
    with torch.inference_mode():
        given = arguments()
        fan_in_loss(**given)
        given["layer"].index.fill_(8)
        with pytest.raises(ValueError, match=r"got columns from 8 to 8"):
            fan_in_loss(**given)


def test_dense_wants_a_weight_as_wide_as_the_features() -> None:
    with pytest.raises(ValueError, match=r"weight: expected shape \('any', 8\), got \(6, 7\)"):
        dense_loss(torch.zeros(2, 8), torch.zeros(6, 7), torch.zeros(6), make_positives([[0], [1]]), "bce")


def test_positives_beyond_the_shard_count_for_nothing() -> None:
    with_others = fan_in_loss(**arguments(positives=make_positives([[0, 6], [1, 5, 99]])))
    assert torch.equal(with_others.grad_weight, fan_in_loss(**arguments()).grad_weight)
