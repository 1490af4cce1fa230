import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ops.cases import SERVING, dtype_of, make_positives, random_layer

from xmc.ops.dense import dense_loss
from xmc.ops.fan_in import fan_in_linear, fan_in_loss, fan_in_sgd_step, fan_in_topk
from xmc.types import Positives


def arguments(**changes: Any) -> dict[str, Any]:
    features, weight, index, bias, _ = random_layer(2, 6, 8, 3, 0)
    given: dict[str, Any] = {
        "features_BD": features,
        "weight_LK": weight,
        "index_GK": index,
        "bias_L": bias,
        "positives": make_positives([[0], [1, 5]]),
        "loss": "bce",
    }
    return given | changes


def offsets(*values: int) -> Positives:
    return Positives(torch.tensor(values), torch.tensor([0, 1, 5]))


INDEX = arguments()["index_GK"]

MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "features rank": ({"features_BD": torch.zeros(8)}, r"features: expected rank 2, got shape \(8,\)"),
    "features dtype": ({"features_BD": torch.zeros(2, 8, dtype=torch.int64)}, "features: expected .*float32.*int64"),
    "no documents": ({"features_BD": torch.zeros(0, 8)}, r"features: expected at least one row.*\(0, 8\)"),
    "strided": ({"features_BD": torch.zeros(8, 2).T}, r"features: expected a contiguous tensor, got strides \(1, 2\)"),
    "no labels": ({"weight_LK": torch.zeros(0, 3)}, "weight: expected at least one row"),
    "fan-in": ({"weight_LK": torch.zeros(6, 9).double()}, "weight: expected fan-in K <= D = 8, got K = 9"),
    "weight device": ({"weight_LK": torch.zeros(6, 3, device="meta")}, "weight: .*the device .*cpu, got meta"),
    "bias shape": ({"bias_L": torch.zeros(5)}, r"bias: expected shape \(6,\), got \(5,\)"),
    "bias dtype": ({"bias_L": torch.zeros(6)}, "bias: expected torch.float64, got torch.float32"),
    "index dtype": ({"index_GK": INDEX.long()}, "index: expected torch.int16, got torch.int64"),
    "index shape": ({"index_GK": INDEX[:, :2].contiguous()}, r"index: expected shape \('any', 3\), got \(6, 2\)"),
    "index rows": (
        {"index_GK": INDEX[:5]},
        "index: expected a row for each of the 6 labels, or .* n of them, got 5 rows",
    ),
    "index surplus": ({"index_GK": INDEX.repeat(2, 1)}, "index: expected a row for each of the 6 labels.* got 12 rows"),
    "index too large": ({"index_GK": INDEX.clone().fill_(8)}, r"index: .*in \[0, 8\), got columns from 8 to 8"),
    "index negative": ({"index_GK": INDEX.clone().fill_(-1)}, r"index: .*got columns from -1 to -1"),
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


@pytest.mark.parametrize("function", [fan_in_linear, lambda *layer, backend: fan_in_topk(*layer, 5, backend=backend)])
@pytest.mark.parametrize("backend", SERVING)
@pytest.mark.parametrize("group_size", [1, 16])
@pytest.mark.parametrize("width", [40, 40_000])
@pytest.mark.parametrize("fan_in", [3, 37])
def test_readers_check_every_column(
    function: Callable[..., object], backend: str, group_size: int, width: int, fan_in: int
) -> None:
    shape = (2, 300 * group_size - group_size // 2, width, fan_in)
    *layer, _ = random_layer(*shape, 0, duplicates=True, group_size=group_size, dtype=dtype_of(backend))
    function(*layer, backend=backend)
    index = layer[2]
    for group, slot, column in itertools.product([0, 127, 128, 299], [0, fan_in - 1], [-1, -(2**15), width]):
        kept = int(index[group, slot])
        index[group, slot] = column
        with pytest.raises(ValueError, match=rf"index: expected columns in \[0, {width}\), got columns from"):
            function(*layer, backend=backend)
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
        fan_in_sgd_step(**arguments(**{"lr": 0.1, name: value}))


@pytest.mark.parametrize("name", ["seed", "step"])
@pytest.mark.parametrize("value", [-1, 2**64, 1.0])
def test_sgd_step_wants_random_numbers_of_64_bits(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"{name}: expected an integer in \[0, {2**64 - 1}\], got {value}"):
        fan_in_sgd_step(**arguments(**{"lr": 0.1, name: value}))


def test_sgd_step_wants_a_decay_that_is_a_number() -> None:
    with pytest.raises(ValueError, match=r"lr \* weight_decay: expected a finite number"):
        fan_in_sgd_step(**arguments(lr=1e30, weight_decay=1e30))
    fan_in_sgd_step(**arguments(lr=1e-30, weight_decay=1e30))


@pytest.mark.parametrize("pair", [("weight", "bias"), ("weight", "features"), ("bias", "features")], ids="-".join)
def test_sgd_step_wants_memory_of_its_own_for_what_it_writes(pair: tuple[str, str]) -> None:
    given = arguments(lr=0.1)
    key = {name.split("_")[0]: name for name in given}
    written, other = given[key[pair[0]]], given[key[pair[1]]]
    shared = torch.zeros(written.nbytes + other.nbytes, dtype=torch.uint8)
    given[key[pair[0]]] = shared[: written.nbytes].view(written.dtype).view(written.shape)
    apart = shared[written.nbytes :].view(other.dtype).view(other.shape)
    fan_in_sgd_step(**given | {key[pair[1]]: apart})
    across = shared[written.nbytes - 8 :][: other.nbytes].view(other.dtype).view(other.shape)
    with pytest.raises(ValueError, match=f"{pair[0]}: expected memory of its own.*give a clone of {pair[1]}"):
        fan_in_sgd_step(**given | {key[pair[1]]: across})


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
@pytest.mark.parametrize("name", ["weight_LK", "bias_L"])
def test_sgd_step_wants_memory_that_it_may_write(name: str, tmp_path: Path) -> None:
    given = arguments(lr=0.1)
    np.save(tmp_path / "saved.npy", given[name].numpy())
    mapped = torch.from_numpy(np.load(tmp_path / "saved.npy", mmap_mode="r"))
    with pytest.raises(ValueError, match=f"{name[:4]}.*: expected memory that may be written; give a clone"):
        fan_in_sgd_step(**given | {name: mapped})
    fan_in_sgd_step(**given | {name: mapped.clone()})
    copied_on_write = np.load(tmp_path / "saved.npy", mmap_mode="c")
    fan_in_sgd_step(**given | {name: torch.from_numpy(copied_on_write)})
    assert np.array_equal(np.load(tmp_path / "saved.npy"), arguments()[name].numpy())


def test_dense_wants_a_weight_as_wide_as_the_features() -> None:
    with pytest.raises(ValueError, match=r"weight: expected shape \('any', 8\), got \(6, 7\)"):
        dense_loss(torch.zeros(2, 8), torch.zeros(6, 7), torch.zeros(6), make_positives([[0], [1]]), "bce")


def test_positives_beyond_the_shard_count_for_nothing() -> None:
    with_others = fan_in_loss(**arguments(positives=make_positives([[0, 6], [1, 5, 99]])))
    assert torch.equal(with_others.grad_weight, fan_in_loss(**arguments()).grad_weight)
