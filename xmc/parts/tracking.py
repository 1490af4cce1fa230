"""Where a run is followed, beside its local log."""

import importlib.util
import os
import secrets
import shutil
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from xmc.errors import XMCError
from xmc.part import Part
from xmc.registry import Registry
from xmc.storage import whole_file

if TYPE_CHECKING:
    from xmc.train.log import Record, Tracker


class TrackingSection(Part):
    """Where a run is followed, beside its local log."""

    def check(self) -> None:
        """Raise XMCError where what it needs cannot be had; called before anything of the run is done."""

    @abstractmethod
    def start(self, run: Path, config: dict[str, Any]) -> "Tracker | None":
        """What receives the figures of a run, which may have been begun before; None: nothing does.

        run: its folder. config: its resolved configuration.

        Raises:
            XMCError: it does not start; the folder is as before.
        """


TRACKING = Registry(
    "tracking",
    TrackingSection,
    {"none": "xmc.parts.tracking:NoTracking", "wandb": "xmc.parts.tracking:WandbTracking"},
)


class NoTracking(TrackingSection):
    """Nowhere."""

    kind: Literal["none"] = "none"

    def start(self, run: Path, config: dict[str, Any]) -> None:
        return None


class WandbTracking(TrackingSection):
    """Weights & Biases, beside the local log (pip install xmc[wandb])."""

    kind: Literal["wandb"] = "wandb"
    mode: Literal["online", "offline"] = "online"
    project: str = "xmc"
    name: str | None = None

    def check(self) -> None:
        """Raise XMCError where the package is not installed, or the environment asks for another mode."""
        if importlib.util.find_spec("wandb") is None:
            raise XMCError("tracking=wandb needs the package wandb: pip install 'xmc[wandb]'")
        asked = os.environ.get("WANDB_MODE", "online")
        if self.mode == "online" != asked:
            instead = "tracking.mode=offline" if asked in ("offline", "dryrun") else "tracking=none"
            raise XMCError(
                f"the environment has WANDB_MODE={asked}, and tracking.mode=online; give {instead}, or unset it"
            )

    def start(self, run: Path, config: dict[str, Any]) -> "Wandb":
        folder = run / "wandb"
        is_new = not folder.exists()
        try:
            return Wandb(self, run, config)
        except XMCError:
            if is_new:
                shutil.rmtree(folder, ignore_errors=True)
            raise


class Wandb:
    """A Weights & Biases run, online or offline, written below the run folder; a resumed run keeps its id."""

    def __init__(self, section: WandbTracking, run: Path, config: dict[str, Any]) -> None:
        import wandb

        settings: dict[str, Any] = {"mode": section.mode, "project": section.project, "name": section.name}
        settings |= {"dir": run, "config": config, "id": _run_id(run / "wandb"), "resume": "allow"}
        try:
            self._run = wandb.init(**settings)
        except Exception as error:  # wandb's own, or what is below it: no login, no network, an unknown project
            reason = str(error).partition("\n")[0]
            raise XMCError(
                f"Weights & Biases does not start ({reason}); log in with `wandb login`, or give tracking.mode=offline "
                "or tracking=none"
            ) from None

    def log(self, record: "Record") -> None:
        self._run.log({k: v for k, v in record.items() if k != "step"}, step=record["step"])

    def close(self) -> None:
        self._run.finish()


def _run_id(folder: Path) -> str:
    """Drawn once: resumed, a run is the same one there; another run in a folder of the same name is another."""
    path = folder / "run_id.txt"
    if not path.is_file():
        with whole_file(path) as out:
            out.write(secrets.token_hex(8))
    return path.read_text()
