"""Checkpoints: folders of safetensors and JSON that are whole or not there.

    checkpoints/step-00001200/{model,auxiliary,optimizer,rng}.safetensors, state.json
    checkpoints/best-00000900/model.safetensors, state.json

`state.json` is written last and carries the SHA-256 of every other file, so a damaged or truncated folder is noticed.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from xmc.model.tensor_file import TensorFile
from xmc.types import XMCError

STATE = "state.json"
Tensors = dict[str, Mapping[str, Tensor]]


class Checkpoints:
    """The checkpoints of one run. `config_hash` ties them to its configuration; the newest `keep_last` are kept."""

    def __init__(self, folder: Path, *, config_hash: str, keep_last: int) -> None:
        self.folder = folder
        self.config_hash = config_hash
        self.keep_last = keep_last

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, ascending."""
        return sorted(int(p.name.removeprefix("step-")) for p in self.folder.glob("step-*") if p.is_dir())

    def save(self, step: int, tensors: Tensors, scalars: dict[str, Any], *, best_step: int | None) -> None:
        """Write a step's checkpoint, then drop the oldest beyond `keep_last` and all best models but `best_step`'s."""
        self._write(_name(step), tensors, scalars)
        for old in self.steps()[: -self.keep_last]:
            shutil.rmtree(self.folder / _name(old))
        for best in self.folder.glob("best-*"):
            if best_step is None or best.name != _best(best_step):
                shutil.rmtree(best)

    def save_best(self, step: int, tensors: Tensors, scalars: dict[str, Any]) -> None:
        """Write the best model so far; the one before stays until the next checkpoint no longer needs it."""
        self._write(_best(step), tensors, scalars)

    def load_last(self) -> tuple[Tensors, dict[str, Any]]:
        """The newest checkpoint.

        Raises:
            XMCError: there is none; it is of another configuration; or it is damaged (an older whole one is offered).
        """
        steps = self.steps()
        if not steps:
            raise XMCError(f"{self.folder} holds no checkpoint to resume from; start the run without resume=true")
        try:
            return self._read(_name(steps[-1]))
        except DamagedCheckpoint as damage:
            older = [s for s in steps[:-1] if self._whole(_name(s))]
            way_out = (
                f"delete that folder to go on from the previous one, {self.folder / _name(older[-1])}"
                if older
                else "no older one is whole: start the run anew in another folder"
            )
            raise XMCError(f"{damage}; {way_out}") from None

    def load_best(self, step: int) -> tuple[Tensors, dict[str, Any]]:
        """The best model, saved at this step."""
        try:
            return self._read(_best(step))
        except DamagedCheckpoint as damage:
            raise XMCError(f"{damage}; resume the run from its last checkpoint to write the best model again") from None

    def _write(self, name: str, tensors: Tensors, scalars: dict[str, Any]) -> None:
        temporary = self.folder / f".{name}.tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        for part, values in tensors.items():
            save_file({k: v.detach().cpu().contiguous() for k, v in values.items()}, temporary / _file(part))
        state = {
            "config_hash": self.config_hash,
            "files": {_file(part): _sync_and_hash(temporary / _file(part)) for part in tensors},
            **scalars,
        }
        (temporary / STATE).write_text(json.dumps(state, indent=2) + "\n")
        _sync(temporary / STATE)
        shutil.rmtree(self.folder / name, ignore_errors=True)
        os.rename(temporary, self.folder / name)
        _sync(self.folder)

    def _read(self, name: str) -> tuple[Tensors, dict[str, Any]]:
        folder = self.folder / name
        state = _verified_state(folder)
        if state["config_hash"] != self.config_hash:
            raise XMCError(
                f"{folder} was written by a run with another configuration than {self.folder.parent / 'config.yaml'}; "
                "restore that file, or start anew in another folder with run=..."
            )
        return {file.removesuffix(".safetensors"): TensorFile(folder / file) for file in state["files"]}, state

    def _whole(self, name: str) -> bool:
        try:
            _verified_state(self.folder / name)
        except DamagedCheckpoint:
            return False
        return True


class DamagedCheckpoint(Exception):
    """A checkpoint whose files are not what its state.json says."""


def _verified_state(folder: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = json.loads((folder / STATE).read_text())
        files: dict[str, str] = state["files"]
    except (OSError, ValueError, KeyError, TypeError):
        raise DamagedCheckpoint(f"checkpoint {folder} is damaged: {STATE} is missing or unreadable") from None
    for file, expected in files.items():
        if not (folder / file).is_file() or _hash(folder / file) != expected:
            raise DamagedCheckpoint(f"checkpoint {folder} is damaged: {file} is missing, truncated or altered")
    return state


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _best(step: int) -> str:
    return f"best-{step:08d}"


def _file(part: str) -> str:
    return f"{part}.safetensors"


def _hash(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_and_hash(path: Path) -> str:
    _sync(path)
    return _hash(path)
