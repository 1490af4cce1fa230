import json
from pathlib import Path

import pytest
import torch

from xmc.train.checkpoint import Checkpoints
from xmc.types import XMCError


def tensors(value: float) -> dict[str, dict[str, torch.Tensor]]:
    return {"model": {"weight": torch.full((3, 2), value), "index": torch.arange(3, dtype=torch.int16)}}


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "checkpoints", config_hash="abc", keep_last=2)


def test_round_trip(checkpoints: Checkpoints) -> None:
    checkpoints.save(10, tensors(1.5), {"progress": {"step": 10}}, best_step=None)
    loaded, state = checkpoints.load_last()
    assert torch.equal(loaded["model"]["weight"], torch.full((3, 2), 1.5))
    assert loaded["model"]["index"].dtype == torch.int16
    assert state["progress"] == {"step": 10}


def test_keeps_the_last_and_the_best(checkpoints: Checkpoints) -> None:
    for step, best in ((10, 10), (20, 10), (30, 30)):
        if best == step:
            checkpoints.save_best(step, tensors(step), {})
        checkpoints.save(step, tensors(step), {}, best_step=best)
    assert checkpoints.steps() == [20, 30]
    assert sorted(p.name for p in checkpoints.folder.glob("best-*")) == ["best-00000030"]
    assert checkpoints.load_best(30)[0]["model"]["weight"][0, 0] == 30


def test_the_earlier_best_stays_until_a_checkpoint_names_the_new_one(checkpoints: Checkpoints) -> None:
    checkpoints.save_best(10, tensors(1), {})
    checkpoints.save(10, tensors(1), {}, best_step=10)
    checkpoints.save_best(20, tensors(2), {})
    assert checkpoints.load_best(10)[0]["model"]["weight"][0, 0] == 1


def test_nothing_to_resume(checkpoints: Checkpoints) -> None:
    with pytest.raises(XMCError, match="no checkpoint to resume from; start the run without resume=true"):
        checkpoints.load_last()


def test_another_configuration(checkpoints: Checkpoints) -> None:
    checkpoints.save(10, tensors(1), {}, best_step=None)
    other = Checkpoints(checkpoints.folder, config_hash="xyz", keep_last=2)
    with pytest.raises(XMCError, match="another configuration"):
        other.load_last()


@pytest.mark.parametrize("damage", ["truncate", "flip", "delete", "state"])
def test_damage_is_noticed_and_the_previous_offered(checkpoints: Checkpoints, damage: str) -> None:
    for step in (10, 20):
        checkpoints.save(step, tensors(step), {}, best_step=None)
    newest = checkpoints.folder / "step-00000020"
    file = newest / "model.safetensors"
    content = file.read_bytes()
    match damage:
        case "truncate":
            file.write_bytes(content[:-5])
        case "flip":
            file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        case "delete":
            file.unlink()
        case "state":
            (newest / "state.json").write_text('{"config_hash": ')
    with pytest.raises(XMCError, match=r"step-00000020 is damaged.*previous one, .*step-00000010"):
        checkpoints.load_last()


def test_all_damaged(checkpoints: Checkpoints) -> None:
    checkpoints.save(10, tensors(1), {}, best_step=None)
    (checkpoints.folder / "step-00000010" / "model.safetensors").unlink()
    with pytest.raises(XMCError, match="no older one is whole: start the run anew"):
        checkpoints.load_last()


def test_an_interrupted_write_leaves_the_previous_checkpoint(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints.save(10, tensors(1), {}, best_step=None)
    monkeypatch.setattr("os.rename", lambda *_: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(OSError, match="no space left"):
        checkpoints.save(20, tensors(2), {}, best_step=None)
    assert checkpoints.steps() == [10]
    assert json.loads((checkpoints.folder / "step-00000010" / "state.json").read_text())["config_hash"] == "abc"
