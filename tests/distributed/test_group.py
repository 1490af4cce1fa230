"""What processes do together, over parts of unequal length and over none."""

import pytest
import torch
from in_threads import ThreadGroup, together

from xmc.distributed import ALONE, Shard
from xmc.errors import XMCError

SIZES = pytest.mark.parametrize("size", [2, 3])


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("number", [0, 1, 2, 7, 100])
def test_shards_make_up_all(size: int, number: int) -> None:
    shards = [Shard.part(number, rank, size) for rank in range(size)]
    assert [place for shard in shards for place in range(number)[shard.rows]] == [*range(number)]
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


@SIZES
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.bfloat16])
def test_rows_of_all_come_in_the_order_of_ranks(size: int, dtype: torch.dtype) -> None:
    parts = [torch.arange(rank * 2 * 3).view(-1, 3).to(dtype) for rank in range(size)]  # the first has none

    def gather(processes: ThreadGroup) -> torch.Tensor:
        return processes.gather(parts[processes.rank])[0]

    for gathered in together(size, gather):
        assert torch.equal(gathered, torch.cat(parts))
    assert torch.equal(ALONE.gather(parts[-1])[0], parts[-1])


@SIZES
def test_sums_are_taken_in_the_order_of_ranks(size: int) -> None:
    torch.manual_seed(0)
    values = torch.randn(size, 5, 4) * 10.0 ** torch.arange(size)[:, None, None]
    expected = values[0].clone()
    for value in values[1:]:
        expected += value

    def add(processes: ThreadGroup) -> tuple[torch.Tensor, list[torch.Tensor], float]:
        own = values[processes.rank]
        whole, counts = own.clone(), torch.tensor([processes.rank])
        processes.add_up([whole[:2], whole[2:], counts])
        return processes.scatter_sum(own), [whole, counts], processes.total(0.1 * processes.rank)

    results = together(size, add)
    assert torch.equal(torch.cat([part for part, _, _ in results]), expected)
    for _, (whole, counts), total in results:
        assert torch.equal(whole, expected)
        assert counts.item() == sum(range(size)) and total == sum(0.1 * rank for rank in range(size))


@SIZES
def test_the_first_gets_the_bytes_of_all_rows(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xmc.distributed.processes._BLOCK", 16)
    whole = torch.arange(7 * 3, dtype=torch.int16).view(7, 3)
    scalar = torch.tensor(2.0)

    def blocks(processes: ThreadGroup) -> list[bytes]:
        shard = processes.shard(len(whole))
        tensors = (processes.rows(whole[shard.rows]), scalar)
        return [block.numpy().tobytes() for tensor in tensors for block in processes.blocks(tensor)]

    first, *others = together(size, blocks)
    assert b"".join(first) == whole.numpy().tobytes() + scalar.numpy().tobytes()
    assert others == [[]] * (size - 1)


def test_what_was_sent_is_counted() -> None:
    """Rows to each other process, and of a sum what is not the own part, twice: to be added up, and the sum back."""

    def sent(processes: ThreadGroup) -> int:
        processes.add_up([torch.ones(12)])
        return processes.sent

    assert together(3, sent) == [2 * 2 * 4 * 4] * 3


def test_each_has_a_label_of_what_is_shared() -> None:
    with pytest.raises(XMCError) as error:
        together(3, lambda processes: processes.shard_of_labels(2, "labels of classifier.head"))
    assert (
        str(error.value) == "2 labels of classifier.head: fewer than the 3 processes that would share them; start fewer"
    )
