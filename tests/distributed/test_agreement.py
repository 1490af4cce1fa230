"""Processes that would not train one and the same run are refused, each of them."""

from pathlib import Path

import pytest
import torch
from in_threads import ThreadGroup, together

from xmc.errors import XMCError
from xmc.workflow.training import _check_agreement, _held

CPU, GPU = torch.device("cpu"), torch.device("cuda")
SAME = {"config_hash": "0" * 64, "steps": [3, 7], "device": CPU}


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"config_hash": "1" * 64}, "differ in their configuration or data;"),
        ({"steps": [3]}, "differ in their last checkpoint of the run;"),
        ({"steps": [], "device": GPU}, "differ in their last checkpoint of the run and number of threads;"),
    ],
)
def test_all_are_told_in_what_they_differ(other: dict[str, object], told: str) -> None:
    def agree(processes: ThreadGroup) -> str:
        with pytest.raises(XMCError) as error:
            _check_agreement(**SAME | (other if processes.rank == 1 else {}), processes=processes)  # type: ignore[arg-type]
        return str(error.value)

    refusals = together(3, agree)
    assert len(set(refusals)) == 1 and told in refusals[0] and "give all machines the same command" in refusals[0]


def test_those_that_agree_go_on() -> None:
    together(3, lambda processes: _check_agreement(**SAME, processes=processes))  # type: ignore[arg-type]


@pytest.mark.parametrize("shared", [True, False])
def test_the_folder_is_one_for_all(shared: bool, tmp_path: Path) -> None:
    def hold(processes: ThreadGroup) -> None:
        with _held(tmp_path / ("run" if shared else f"machine{processes.rank}"), processes):
            processes.meet()

    if shared:
        together(2, hold)
        return
    with pytest.raises(XMCError, match="is not one folder for all processes: process 1 does not see what the first"):
        together(2, hold)
