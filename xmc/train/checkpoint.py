"""Checkpoints: folders of safetensors and JSON that are whole or not there.

    checkpoints/step-00001200/{model,auxiliary,optimizer,rng}.safetensors, state.json
    checkpoints/best-00000900/model.safetensors, state.json

Of several processes the first writes, and the others send it their rows: a checkpoint is the same, bit for bit, and can
be gone on with, whatever the number of processes.

`state.json` carries the SHA-256 of every other file, and `model.safetensors`, in its header, that of all else that
`state.json` says. So whatever is damaged, altered, missing or too much is noticed.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from xmc.distributed import ALONE, Processes, Rows
from xmc.errors import XMCError
from xmc.model.tensor_file import TensorFile
from xmc.storage import read_json, sweep, whole_folder
from xmc.train.tensor_writer import write_tensors

STATE = "state.json"
_MODEL, _DIGEST = "model.safetensors", "state"  # the file, and the name in its header, of the digest of state.json
Tensors = dict[str, Mapping[str, Tensor]]
Saved = dict[str, Mapping[str, Tensor | Rows]]


class Checkpoints:
    """The checkpoints of one run. `config_hash` ties them to its configuration; the newest `keep_last` are kept.

    All processes of a run save together.
    """

    def __init__(self, folder: Path, *, config_hash: str, keep_last: int, processes: Processes = ALONE) -> None:
        self._processes = processes
        self.folder = folder
        self.config_hash = config_hash
        self.keep_last = keep_last

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, ascending."""
        return self._steps_of("step")

    def sweep(self) -> None:
        """Remove what killed writers left. No other may write here now."""
        sweep(self.folder)
        for left in self.folder.glob(".*.tmp"):
            if re.fullmatch(r"\.(step|best)-[0-9]+\.tmp", left.name):  # of versions that used no lock
                shutil.rmtree(left)

    def save(self, step: int, tensors: Saved, scalars: dict[str, Any], *, best_step: int | None) -> None:
        """Write a step's checkpoint, then drop the oldest beyond `keep_last` and all best models but `best_step`'s."""
        self._write(_name(step), tensors, {"best_step": best_step, **scalars})
        if not self._processes.is_first:
            return
        for old in self.steps()[: -self.keep_last]:
            shutil.rmtree(self.folder / _name(old))
        for best in self._steps_of("best"):
            if best != best_step:
                shutil.rmtree(self.folder / _best(best))

    def save_best(self, step: int, tensors: Saved, scalars: dict[str, Any]) -> None:
        """Write the best model so far; the one before stays until the next checkpoint no longer needs it."""
        self._write(_best(step), tensors, scalars)

    def load_last(self) -> tuple[Tensors, dict[str, Any]]:
        """The newest checkpoint.

        Raises:
            XMCError: there is none, or of another configuration; or it, or the best model that it needs, is damaged (an
                older whole one is offered).
        """
        steps = self.steps()
        if not steps:
            raise XMCError(f"{self.folder} holds no checkpoint to resume from; start the run without resume=true")
        try:
            return self._read_step(steps[-1])
        except DamagedCheckpoint as damage:
            older = [s for s in steps[:-1] if self._whole(s)]
            newer = [str(self.folder / _name(s)) for s in steps if older and s > older[-1]]
            way_out = (
                f"delete {' and '.join(newer)} to go on from the previous one, {self.folder / _name(older[-1])}"
                if older
                else "no older one is whole: start the run anew in another folder"
            )
            raise XMCError(f"{damage}; {way_out}") from None

    def load_best(self, step: int) -> tuple[Tensors, dict[str, Any]]:
        """The best model, saved at this step."""
        try:
            return self._read(_best(step))
        except DamagedCheckpoint as damage:
            raise XMCError(f"{damage}; start the run anew in another folder") from None

    def _write(self, name: str, tensors: Saved, scalars: dict[str, Any]) -> None:
        state: dict[str, Any] = {"config_hash": self.config_hash, **scalars}
        digest = _digest(name, state, map(_file, tensors))
        with whole_folder(self.folder / name) if self._processes.is_first else nullcontext(self.folder) as folder:
            for part, values in tensors.items():
                header = {_DIGEST: digest} if _file(part) == _MODEL else None
                write_tensors(folder / _file(part), values, self._processes, header)
            if self._processes.is_first:
                state["files"] = {_file(part): _hash(folder / _file(part)) for part in tensors}
                (folder / STATE).write_text(json.dumps(state, indent=2) + "\n")

    def _read(self, name: str) -> tuple[Tensors, dict[str, Any]]:
        folder = self.folder / name
        state = _verified_state(folder)
        if state["config_hash"] != self.config_hash:
            raise XMCError(
                f"{folder} was written with another configuration than {self.folder.parent / 'config.yaml'} has now, "
                "or with other data; restore that file and the data, or start anew with another run=..."
            )
        return {file.removesuffix(".safetensors"): TensorFile(folder / file) for file in state["files"]}, state

    def _read_step(self, step: int) -> tuple[Tensors, dict[str, Any]]:
        """With a look at the best model, which the run will need at its end."""
        tensors, state = self._read(_name(step))
        if (best := state.get("best_step")) is not None:
            self._read(_best(best))
        return tensors, state

    def _steps_of(self, kind: str) -> list[int]:
        """Of the folders that are named as ours are; others are left alone."""
        names = [path.name for path in self.folder.glob(f"{kind}-*") if path.is_dir()]
        return sorted(int(name[5:]) for name in names if re.fullmatch(f"{kind}-([0-9]{{8}}|[1-9][0-9]{{8,}})", name))

    def _whole(self, step: int) -> bool:
        try:
            self._read_step(step)
        except (DamagedCheckpoint, XMCError):
            return False
        return True


class DamagedCheckpoint(Exception):
    """A checkpoint whose files are not what its state.json says, or the other way round."""

    def __init__(self, folder: Path, what: str) -> None:
        super().__init__(f"checkpoint {folder} is damaged: {what}")


def _verified_state(folder: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = read_json(folder / STATE)
        files: dict[str, str] = dict(state["files"])
    except (XMCError, KeyError, TypeError, ValueError):
        raise DamagedCheckpoint(folder, f"{STATE} is missing or unreadable") from None
    there = {path.name for path in folder.glob("*.safetensors")}
    for file in sorted(there | files.keys() | {_MODEL}):
        if file not in there or file not in files or _hash(folder / file) != files[file]:
            raise DamagedCheckpoint(folder, f"{file} is missing, truncated or altered")
    with safe_open(folder / _MODEL, framework="pt") as model:
        digest = (model.metadata() or {}).get(_DIGEST)
    told = {key: value for key, value in state.items() if key != "files"}
    if digest not in (None, _digest(folder.name, told, files)):  # None: of a version that knew none
        raise DamagedCheckpoint(folder, f"{STATE} was altered, or belongs to another checkpoint")
    return state


def _digest(name: str, state: dict[str, Any], files: Iterable[str]) -> str:
    return hashlib.sha256(json.dumps([name, state, sorted(files)], sort_keys=True).encode()).hexdigest()


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _best(step: int) -> str:
    return f"best-{step:08d}"


def _file(part: str) -> str:
    return f"{part}.safetensors"


def _hash(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
