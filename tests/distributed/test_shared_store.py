"""Weights that wait (Top-KAST), of several processes."""

from pathlib import Path

import pytest
import torch
from in_threads import together
from safetensors.torch import load_file
from torch import Tensor

from xmc.distributed import ALONE, Processes
from xmc.sparsity.store import HostStore, ImplicitStore, MappedStore, WeightStore
from xmc.train.tensor_writer import write_tensors

L, D, RUN = 23, 10, 4
CPU = torch.device("cpu")
KINDS = pytest.mark.parametrize("kind", ["host", "mapped", "implicit"])


def store(kind: str, folder: Path, processes: Processes) -> WeightStore:
    shard = processes.shard(L)
    if kind == "implicit":
        return ImplicitStore(D, 0.5, 7, torch.float32, shard, processes)
    if kind == "mapped":
        path = folder / f"{processes.size}-{processes.rank}.bin"
        return MappedStore(len(shard), D, 0.5, 7, torch.float32, path, shard, processes)
    return HostStore(len(shard), D, 0.5, 7, torch.float32, shard, processes)


def runs(processes: Processes) -> list[slice]:
    rows = len(processes.shard(L))
    return [slice(start, min(start + RUN, rows)) for start in range(0, rows, RUN)]


def learn(waiting: WeightStore, processes: Processes) -> None:
    """Half of all weights change, by their place among all."""
    first = processes.shard(L).start
    for rows in runs(processes):
        weight = waiting.read(rows, CPU)
        places = torch.arange(rows.start + first, rows.stop + first)[:, None] * D + torch.arange(D)
        weight[places % 2 == 0] += places[places % 2 == 0]
        waiting.write(rows, weight, torch.zeros_like(weight, dtype=torch.bool), None)


def content(waiting: WeightStore, processes: Processes) -> Tensor:
    return torch.cat([waiting.read(rows, CPU) for rows in runs(processes)])


@KINDS
@pytest.mark.parametrize(("before", "after"), [(3, 2), (1, 3), (4, 1)])
def test_they_are_those_of_one_process_whoever_goes_on(kind: str, before: int, after: int, tmp_path: Path) -> None:
    whole = HostStore(L, D, 0.5, 7, torch.float32)
    begun = together(before, lambda processes: content(store(kind, tmp_path, processes), processes))
    assert torch.equal(torch.cat(begun), content(whole, ALONE))
    learn(whole, ALONE)

    def save(processes: Processes) -> None:
        waiting = store(kind, tmp_path, processes)
        learn(waiting, processes)
        write_tensors(tmp_path / "saved", waiting.tensors(), processes)

    together(before, save)
    saved = load_file(tmp_path / "saved")

    def load(processes: Processes) -> Tensor:
        waiting = store(kind, tmp_path, processes)
        learn(waiting, processes)  # which is forgotten
        waiting.load(saved)
        write_tensors(tmp_path / "again", waiting.tensors(), processes)  # before anything was written
        return content(waiting, processes)

    assert torch.equal(torch.cat(together(after, load)), content(whole, ALONE))
    assert (tmp_path / "again").read_bytes() == (tmp_path / "saved").read_bytes()


def test_older_checkpoints_count_places_by_run() -> None:
    old, new = (ImplicitStore(D, 0.5, 7, torch.float32) for _ in range(2))
    learn(old, ALONE)
    names = ("places", "values")
    new.load(
        {f"store.{start}.{n}": t for start, kept in old._changed.items() for n, t in zip(names, kept, strict=True)}
    )
    assert torch.equal(content(new, ALONE), content(old, ALONE))
