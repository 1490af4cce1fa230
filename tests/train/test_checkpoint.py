import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from xmc.errors import XMCError
from xmc.train.checkpoint import Checkpoints


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


def altered(checkpoints: Checkpoints, name: str, change: Callable[[dict[str, Any]], Any]) -> None:
    path = checkpoints.folder / name / "state.json"
    state = json.loads(path.read_text())
    change(state)
    path.write_text(json.dumps(state))


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state["progress"].update(step=21),
        lambda state: state["progress"].pop("step"),
        lambda state: state["optimizer"]["table.0"].update(second_moment=1.1),
        lambda state: state["optimizer"].pop("table.0"),
        lambda state: state["files"].pop("rng.safetensors"),
        lambda state: state.pop("files"),
        lambda state: state.pop("best_step"),
        lambda state: state.update(more=1),
        lambda state: state.update(config_hash="xyz"),
    ],
)
def test_an_altered_state_is_noticed(checkpoints: Checkpoints, change: Callable[[dict[str, Any]], Any]) -> None:
    scalars = {"progress": {"step": 20}, "optimizer": {"table.0": {"second_moment": 1.5e-5, "step": 20}}}
    checkpoints.save(20, tensors(1) | {"rng": {"cpu": torch.zeros(2)}}, scalars, best_step=None)
    assert checkpoints.load_last()[1]["progress"] == {"step": 20}
    altered(checkpoints, "step-00000020", change)
    with pytest.raises(XMCError, match=r"step-00000020 is damaged: "):
        checkpoints.load_last()


def test_every_flipped_bit_of_the_state_is_noticed(checkpoints: Checkpoints) -> None:
    checkpoints.save(20, tensors(1), {"progress": {"step": 20}}, best_step=None)
    path = checkpoints.folder / "step-00000020" / "state.json"
    whole, before = path.read_bytes(), checkpoints.load_last()[1]
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        try:
            assert checkpoints.load_last()[1] == before  # a space became a tab, say
        except XMCError as error:
            assert "is damaged: " in str(error)


def test_a_checkpoint_under_another_name_is_refused(checkpoints: Checkpoints) -> None:
    checkpoints.save(20, tensors(1), {}, best_step=None)
    (checkpoints.folder / "step-00000020").rename(checkpoints.folder / "step-00000040")
    with pytest.raises(XMCError, match=r"state.json was altered, or belongs to another checkpoint"):
        checkpoints.load_last()


def test_a_damaged_best_model_is_noticed_before_the_run_goes_on(checkpoints: Checkpoints) -> None:
    for step in (10, 20):
        checkpoints.save_best(step, tensors(step), {})
        checkpoints.save(step, tensors(step), {}, best_step=step)
    (checkpoints.folder / "best-00000020" / "model.safetensors").unlink()
    with pytest.raises(XMCError, match=r"best-00000020 is damaged.*no older one is whole: start the run anew"):
        checkpoints.load_last()


def test_what_is_not_ours_is_left_alone(checkpoints: Checkpoints) -> None:
    stray = ["step-foo", "step-1", "step-00000099x", "step-000000099", "best-of-all", "best-7"]
    for name in stray:
        (checkpoints.folder / name).mkdir(parents=True)
    for step in (10, 20, 30):
        checkpoints.save_best(step, tensors(step), {})
        checkpoints.save(step, tensors(step), {}, best_step=step)
    assert checkpoints.steps() == [20, 30] and checkpoints.load_last()[0]["model"]["weight"][0, 0] == 30
    assert all((checkpoints.folder / name).is_dir() for name in stray)


def test_what_killed_writers_left_is_swept(checkpoints: Checkpoints) -> None:
    checkpoints.save(10, tensors(1), {}, best_step=None)
    for left in (".step-00000020.tmp", ".best-00000020.tmp", ".step-00000030.0123456789abcdef.tmp", ".other.tmp"):
        (checkpoints.folder / left).mkdir()
    checkpoints.sweep()
    assert {path.name for path in checkpoints.folder.iterdir()} == {"step-00000010", ".other.tmp"}


def test_checkpoints_of_the_version_before_are_read(checkpoints: Checkpoints) -> None:
    """It wrote no digest into the header of model.safetensors, and no best step."""
    folder = checkpoints.folder / "step-00000010"
    folder.mkdir(parents=True)
    save_file(tensors(1.5)["model"], folder / "model.safetensors")
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    state = {"config_hash": "abc", "files": {"model.safetensors": digest}, "progress": {"step": 10}}
    (folder / "state.json").write_text(json.dumps(state, indent=2) + "\n")
    loaded, scalars = checkpoints.load_last()
    assert loaded["model"]["weight"][0, 0] == 1.5 and scalars["progress"] == {"step": 10}
