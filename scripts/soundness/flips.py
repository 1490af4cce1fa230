"""One flipped bit in a checkpoint, a saved model, the cache of documents or the cache of tokens."""

import random
import shutil
from pathlib import Path

from .outcome import Verdict, compared, judge
from .process import run
from .stage import Stage, contents, files

TARGETS = ("checkpoint", "model", "documents", "tokens")


class Flips:
    """Each target in turn; the file, the byte and the bit are drawn, files with equal chances."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.undisturbed = contents(stage.whole / "model")
        self.cut = stage.cut
        self.predicted = self._predict(stage.whole / "model")[1]

    def __call__(self, number: int, rng: random.Random, folder: Path) -> tuple[str, Verdict]:
        target = TARGETS[number % len(TARGETS)]
        attack = {"checkpoint": self._checkpoint, "model": self._model}.get(target, self._cache)
        return attack(target, rng, folder)

    def _checkpoint(self, target: str, rng: random.Random, folder: Path) -> tuple[str, Verdict]:
        copied = self.stage.copy(self.cut, folder)
        shutil.rmtree(copied / "checkpoints" / "step-00000005")  # nobody reads it
        what = flip(copied / "checkpoints", rng)
        ended = run("train", f"run={copied}", "resume=true")
        return f"{target} {what}", judge(ended) or compared(contents(copied / "model"), self.undisturbed)

    def _model(self, target: str, rng: random.Random, folder: Path) -> tuple[str, Verdict]:
        copied = folder / "model"
        shutil.copytree(self.stage.whole / "model", copied)
        what = flip(copied, rng)
        verdict, predicted = self._predict(copied)
        return f"{target} {what}", verdict or compared(predicted, self.predicted)

    def _cache(self, target: str, rng: random.Random, folder: Path) -> tuple[str, Verdict]:
        copied, fresh = folder / "cache", folder / "run"
        shutil.copytree(self.stage.cache, copied)
        what = flip(copied, rng, of_tokens=target == "tokens")
        ended = run("train", *self.stage.training(fresh, copied))
        return f"{target} {what}", judge(ended) or compared(contents(fresh / "model"), self.undisturbed)

    def _predict(self, model: Path) -> tuple[Verdict | None, dict[str, bytes]]:
        ended = run("predict", f"run={model}", f"input={self.stage.test}", "k=6", "threads=1")
        return judge(ended), {"predictions": ended.stdout.encode()}


def flip(folder: Path, rng: random.Random, *, of_tokens: bool | None = None) -> str:
    """Flip one bit of a file below the folder and tell which. of_tokens: of the cache, which part."""
    present = [
        (name, path)
        for name, path in files(folder)
        if path.stat().st_size and (of_tokens is None or name.startswith("token") == of_tokens)
    ]
    name, path = rng.choice(present)
    content = bytearray(path.read_bytes())
    bit = rng.randrange(8 * len(content))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    return f"{name} bit {bit}"
