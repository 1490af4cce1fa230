from contextlib import nullcontext
from pathlib import Path

import pytest
from test_config import composed

from xmc.commands.train import run
from xmc.config import TrainConfig, parse
from xmc.distributed import Processes
from xmc.errors import XMCError


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("rank", [0, 1])
def test_what_cannot_be_divided_is_refused_before_anything_is_read(
    rank: int, resume: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes = Processes()
    processes.rank, processes.size = rank, 2
    monkeypatch.setattr("xmc.distributed.joined", lambda _: nullcontext(processes))
    places = [f"run={tmp_path / 'run'}", "data=jsonl", f"data.root={tmp_path / 'nowhere'}"]
    config = parse(TrainConfig, composed(*places, "classifier.group_size=2"))
    with pytest.raises(XMCError, match=r"several processes cannot train this run: classifier\.group_size"):
        run(config.model_copy(update={"resume": resume}), ["run", "data", "data.root", "classifier.group_size"])
    assert not (tmp_path / "run").exists()
