"""Hostile model folders: each is refused in one line, or predicts as if it were not; nothing is executed."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from .hostile import HOSTILE
from .outcome import Outcome, Verdict, compared, judge
from .process import SECRET, Ended, run
from .stage import Stage, contents

Results = dict[str, bytes]
Read = Callable[[Path, Path], tuple[Ended, Results]]
UNLIKE = (".json", "report.html", "estimate")  # what tells of a file's other content, and does not predict
YES = b"y\n" * 20  # to whatever would ask


class Models:
    """Each hostile change in turn, read by one command of those that would: in the first round mostly by predict."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.of_runs: dict[str, Read] = {
            "predict": self._predict,
            "evaluate": self._evaluate,
            "predict from standard input": self._predict_stream,
            "finetune": self._finetune,
            "report": self._report,
            "add-labels": self._add_labels,
            "calibrate": self._calibrate,
        }
        self.of_encoders: dict[str, Read] = {"train on it": self._train_on, "estimate": self._estimate}
        self.bases = {"encoder": stage.encoder, "bag": stage.calibrated} | {
            name: stage.transformer(name, *more)
            for name, more in {
                "transformer": ["encoder.lexical.width=8"],
                "transformed": ["sparse_ift=wide", "sparse_ift.layers=[encoder]"],
            }.items()
        }
        self.references: dict[tuple[str, str], Results] = {}

    def __call__(self, number: int, rng: random.Random, folder: Path) -> tuple[str, Verdict]:
        change = HOSTILE[number % len(HOSTILE)]
        readers, turn = list(self._readers(change.base)), number // len(HOSTILE)
        name = readers[0] if turn == 0 and number % 3 else readers[(turn + number) % len(readers)]
        marker = folder / "executed"
        copied = self._copy(change.base, folder)
        change.apply(copied, marker)
        seal_anew(copied / "model")
        ended, results = self._readers(change.base)[name](copied, folder / "out")
        what = f"{change.base}: {change.name}, {name}"
        wrong = executed(ended, results, marker) or judge(ended)
        return what, wrong or self._compared(change.base, name, results, folder / "clean")

    def _readers(self, base: str) -> dict[str, Read]:
        return self.of_encoders if base == "encoder" else self.of_runs

    def _copy(self, base: str, folder: Path) -> Path:
        if base == "encoder":
            return Path(shutil.copytree(self.bases[base], folder / "run"))
        return self.stage.copy(self.bases[base], folder, cache=folder / "cache")

    def _compared(self, base: str, name: str, results: Results, folder: Path) -> Verdict:
        def alike(given: Results) -> Results:
            return {key: value for key, value in given.items() if not key.endswith(UNLIKE)}

        return compared(alike(results), alike(self._undisturbed(base, name, folder)))

    def _undisturbed(self, base: str, name: str, folder: Path) -> Results:
        if (base, name) not in self.references:
            self.references[base, name] = self._readers(base)[name](self._copy(base, folder), folder / "out")[1]
        return self.references[base, name]

    def _predict(self, copied: Path, out: Path) -> tuple[Ended, Results]:
        ended = run("predict", f"run={copied}", f"input={self.stage.test}", "threshold=auto", "threads=1", stdin=YES)
        return ended, {"predictions": ended.stdout.encode()}

    def _predict_stream(self, copied: Path, out: Path) -> tuple[Ended, Results]:
        """The first document is an answer to a question that must not be asked."""
        documents = YES[:2] + self.stage.test.read_bytes()
        ended = run("predict", f"run={copied}", "input=-", "threads=1", stdin=documents)
        return ended, {"predictions": ended.stdout.encode()}

    def _evaluate(self, copied: Path, out: Path) -> tuple[Ended, Results]:
        ended = run("evaluate", f"run={copied}", "threads=1", stdin=YES)
        return ended, {"table": ended.stdout.encode()}

    def _calibrate(self, copied: Path, out: Path) -> tuple[Ended, Results]:
        ended = run("calibrate", f"run={copied}", "k=3", "threads=1", stdin=YES)
        return ended, {"table": ended.stdout.encode()}

    def _report(self, copied: Path, out: Path) -> tuple[Ended, Results]:
        ended = run("report", f"run={copied}", f"output={out / 'report.html'}", "replicates=20", "threads=1", stdin=YES)
        return ended, contents(out, copied.parent)

    def _add_labels(self, copied: Path, out: Path) -> tuple[Ended, Results]:
        examples = [f"input={self.stage.examples}", f"output={out}", "steps=5", "threads=1"]
        ended = run("add-labels", f"run={copied}", *examples, stdin=YES)
        return ended, contents(out)

    def _finetune(self, copied: Path, out: Path) -> tuple[Ended, Results]:
        data = ["data=jsonl", f"data.root={self.stage.data}", f"data.cache_dir={copied.parent / 'cache'}"]
        short = ["trainer.max_steps=2", "trainer.threads=1", "trainer.batch_size=8", "new_labels.steps=2"]
        ended = run("finetune", f"from={copied}", f"run={out}", *data, *short, stdin=YES)
        return ended, contents(out / "model")

    def _train_on(self, copied: Path, out: Path) -> tuple[Ended, Results]:
        short = [*self.stage.with_encoder(copied), "trainer.max_steps=2"]
        ended = run("train", *self.stage.training(out, None, *short), stdin=YES)
        return ended, contents(out / "model")

    def _estimate(self, copied: Path, out: Path) -> tuple[Ended, Results]:
        ended = run("estimate", *self.stage.training(out, None, *self.stage.with_encoder(copied)), stdin=YES)
        return ended, {"estimate": ended.stdout.encode()}


def seal_anew(model: Path) -> None:
    """As who changes a model on purpose does: its digests fit again, where there are any."""
    try:
        card = json.loads((model / "xmc.json").read_text())
        from xmc.model.seal import sealed

        files = [model / name for name in card["files"] if (model / name).is_file()]
        (model / "xmc.json").write_text(json.dumps(sealed(card, model, files)))
    except (OSError, ValueError, LookupError, TypeError, RecursionError, ImportError):
        return  # there are none, or none that are read


def executed(ended: Ended, results: Results, marker: Path) -> Verdict | None:
    """Whether foreign code ran, or told a secret of the environment."""
    if marker.exists():
        return Verdict(Outcome.EXECUTION, "the canary ran")
    told = b"".join([ended.stdout.encode(), ended.stderr.encode(), *results.values()])
    return Verdict(Outcome.EXECUTION, "the secret was told") if SECRET.encode() in told else None
