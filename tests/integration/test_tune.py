"""A study: killed at any moment it goes on and ends as an undisturbed one; its budget is held."""

import dataclasses
import json
import random
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from harness import Run, command, small

from xmc.commands.estimate import EstimateConfig
from xmc.commands.tune.halving import Trial
from xmc.config import TrainConfig
from xmc.estimate import Counts, Estimate
from xmc.estimate.memory import Part
from xmc.train.log import LocalLog, Record
from xmc.train.step import Diverged

pytest.importorskip("optuna")

from xmc.commands.tune import adjustment, session, sizes
from xmc.commands.tune.study import Study


@pytest.fixture(scope="module")
def corpus(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A part of it, and of each text the first words, so that no model is right throughout."""
    folder = tmp_path_factory.mktemp("few") / "data"
    folder.mkdir()
    (folder / "labels.tsv").write_bytes((corpus / "labels.tsv").read_bytes())
    for split, count in (("train", 120), ("dev", 40), ("test", 5)):
        documents = [json.loads(line) for line in (corpus / f"{split}.jsonl").read_text().splitlines()[:count]]
        lines = [json.dumps(d | {"text": " ".join(d["text"].split()[:3])}) + "\n" for d in documents]
        (folder / f"{split}.jsonl").write_text("".join(lines))
    return folder


def settings(corpus: Path, output: Path, *more: object) -> list[object]:
    slowly = "encoder.embedding_lr=0.01"  # so that the lexical half counts
    overrides = ["trainer.epochs=2", slowly, "trainer.eval_every=2", "trainer.log_every=1", "sparsity.interval=5"]
    return small(corpus, *overrides, "trials=2", "budget=1h", f"output={output}", "run=there", *more)


AT_ONCE = "trainer.eval_every=50"  # one evaluation, with which all rungs end


def known(output: Path) -> list[Trial]:
    return Study(output / "study.db").trials()


def told(trials: list[Trial]) -> list[dict[str, Any]]:
    """All of them but what the machine decides."""
    return [vars(trial) | {"seconds": len(trial.seconds)} for trial in trials]


def losses(run: Path) -> dict[int, float]:
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return {record["step"]: record["loss"] for record in log if "loss" in record}


def best_of_network(run: Path) -> float:
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return max(float(record["dev/nDCG@5"]) for record in log if "dev/nDCG@5" in record)


@pytest.fixture(scope="module")
def undisturbed(corpus: Path, tmp_path_factory: pytest.TempPathFactory, xmc: Run) -> Path:
    output = tmp_path_factory.mktemp("undisturbed") / "study"
    (output.parent / "told").write_text(xmc("tune", *settings(corpus, output)).stdout)
    return output


def test_the_recommended_settings_come_first(corpus: Path, undisturbed: Path, tmp_path: Path, xmc: Run) -> None:
    """Through its rungs the first trial is what `xmc train` would have done at once."""
    given = [o for o in settings(corpus, undisturbed) if str(o).partition("=")[0] not in ("trials", "budget", "output")]
    xmc("train", *given[:-1], f"run={tmp_path / 'run'}")
    assert losses(undisturbed / "trials" / "0000") == losses(tmp_path / "run")
    of_train = (tmp_path / "run" / "metrics-dev.json").read_text()
    assert (undisturbed / "trials" / "0000" / "metrics-dev.json").read_text() == of_train
    first = known(undisturbed)[0]
    assert first.scores[-1] == json.loads(of_train)["metrics"]["nDCG@5"]
    assert len(first.scores) == 3 and min(first.scores) > 0 and max(first.scores) < 1
    assert best_of_network(undisturbed / "trials" / "0000") < first.scores[-1], "the lexical half counts too"


def test_what_is_left_of_a_study(corpus: Path, undisturbed: Path, tmp_path: Path, xmc: Run) -> None:
    trials = known(undisturbed)
    searched = [trial for trial in trials if trial.repeats is None]
    read = {trial.values["trainer.label_texts"] for trial in searched}
    assert len(list((undisturbed / "lexical").iterdir())) == len(read), "a half for all that read the same"
    assert len(searched) == 2 and all("trainer.epochs" not in trial.values for trial in searched)
    repeats = [(trial.repeats, trial.seed) for trial in trials if trial.repeats is not None]
    assert len(repeats) == 4 and {seed for _, seed in repeats} == {1, 2}
    models = {int(path.parent.name) for path in undisturbed.glob("trials/*/model")}
    assert models == {number for number, _ in repeats}, "of the best two alone"
    waiting = {trial.number for trial in trials if trial.waits}
    assert {int(path.parent.name) for path in undisturbed.glob("trials/*/checkpoints")} == waiting
    for number in models:
        run = undisturbed / "trials" / f"{number:04d}"
        assert xmc("predict", f"run={run}", "input=-", input='{"text": "word3a word3b"}\n').stdout.count("topic3") == 1
    table = (undisturbed.parent / "told").read_text()
    assert "| as recommended |" in table and str(undisturbed / "best.yaml") in table
    (paste,) = (line for line in table.splitlines() if "xmc train " in line)
    words = shlex.split(paste.partition("xmc ")[2])
    xmc(*[f"run={tmp_path / 'run'}" if word == "run=there" else word for word in words])
    best = max(models, key=lambda n: sum(t.scores[-1] for t in trials if n in (t.number, t.repeats)))
    assert losses(tmp_path / "run") == losses(undisturbed / "trials" / f"{best:04d}")


def test_the_same_command_again_has_nothing_to_do(corpus: Path, undisturbed: Path, xmc: Run) -> None:
    before, table = told(known(undisturbed)), (undisturbed.parent / "told").read_text()
    assert xmc("tune", *settings(corpus, undisturbed)).stdout == table
    assert told(known(undisturbed)) == before


@pytest.mark.slow
@pytest.mark.parametrize("kills", [1, 6])
def test_a_killed_study_ends_the_same(corpus: Path, tmp_path: Path, xmc: Run, undisturbed: Path, kills: int) -> None:
    output = tmp_path / "study"
    steps = sum(len(losses(path.parent)) for path in undisturbed.glob("trials/*/log.jsonl"))
    ended: list[Trial] = []
    for moment in sorted(random.sample(range(7, steps - 3), kills)):  # the first rung ends with step 4
        print("killed after step", moment)
        arguments = command("tune", *settings(corpus, output))
        with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            deadline = time.monotonic() + 120
            while process.poll() is None and time.monotonic() < deadline:
                logs = [path.read_bytes().count(b'"loss"') for path in output.glob("trials/*/log.jsonl")]
                if sum(logs) >= moment:
                    break
                time.sleep(0.002)
            assert process.poll() is None, process.communicate()[1]
            process.send_signal(signal.SIGKILL)
        ended = known(output)
    first = {t.number: (output / "trials" / f"{t.number:04d}" / "log.jsonl").read_bytes() for t in ended if t.scores}
    assert first
    xmc("tune", *settings(corpus, output))
    assert told(known(output)) == told(known(undisturbed))
    assert (output / "best.yaml").read_bytes() == (undisturbed / "best.yaml").read_bytes()
    for number, log in first.items():  # what ended its first rung was not trained anew: the times in its log are those
        now = (output / "trials" / f"{number:04d}" / "log.jsonl").read_bytes()
        assert now.splitlines()[:4] == log.splitlines()[:4]


def test_stopped_by_a_signal_it_goes_on(
    corpus: Path, tmp_path: Path, xmc: Run, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, real = tmp_path / "study", LocalLog.log

    def log_and_stop(self: LocalLog, record: Record) -> None:
        real(self, record)
        if record["step"] == 9 and "loss" in record:
            signal.raise_signal(signal.SIGTERM)

    given = [o for o in settings(corpus, output) if o != "trials=2"]
    with monkeypatch.context() as patch:
        patch.setattr(LocalLog, "log", log_and_stop)
        stopped = xmc("tune", *given, check=False)
    assert stopped.returncode == 128 + signal.SIGTERM
    assert "interrupted; give the command again" in stopped.stderr
    assert list((output / "trials" / "0000" / "checkpoints").glob("step-00000009"))
    xmc("tune", *given, "trials=1")
    assert told(known(output)) == told(known(undisturbed)[:1])


def test_the_budget_is_held_and_a_larger_one_goes_on(corpus: Path, tmp_path: Path, xmc: Run) -> None:
    output = tmp_path / "study"
    given = settings(corpus, output, AT_ONCE, "trials=1")
    given = [o for o in given if not str(o).startswith("budget=") and o != "trials=2"]
    ended = xmc("tune", *given, "budget=0.01s", check=False)
    assert ended.returncode == 1
    assert "the budget ended before any trial did; the same command with a larger budget=... goes on" in ended.stderr
    assert [trial.scores for trial in known(output)] == [()]
    xmc("tune", *given, "budget=1h")
    assert [trial.finished for trial in known(output)] == [True]
    assert "as recommended" in xmc("tune", *given, "budget=0.01s").stdout
    assert len(known(output)) == 1


def test_a_trial_that_diverges_does_not_end_the_study(
    corpus: Path, tmp_path: Path, xmc: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = session.train_run

    def diverge(config: TrainConfig, *rest: Any) -> None:
        if config.run.endswith("0001"):
            raise Diverged("the loss is nan at step 3: training diverged. Lower the rates")
        real(config, *rest)

    monkeypatch.setattr(session, "train_run", diverge)
    own = AT_ONCE, "lexical=none", "encoder.embedding_lr=0.1"
    done = xmc("tune", *settings(corpus, output := tmp_path / "study", *own))
    assert "trial 1 failed: the loss is nan at step 3" in done.stderr
    assert known(output)[0].scores[-1] == best_of_network(output / "trials" / "0000")
    assert not (output / "lexical").exists()
    assert [trial.lost is None for trial in known(tmp_path / "study")] == [True, False]


def test_what_does_not_fit_is_not_tried(
    corpus: Path, tmp_path: Path, xmc: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "study"
    refused = xmc("tune", *settings(corpus, output, "device_memory=100MiB"), check=False)
    assert "it would take" in refused.stderr and "see xmc estimate" in refused.stderr
    real = sizes.estimate.estimate
    proposed: list[Estimate] = []

    def proposals_are_odd(config: EstimateConfig, counts: Counts) -> Estimate:
        """The first is large, the second narrow."""
        proposed.append(own := real(config, counts))
        large = dataclasses.replace(own, always=(*own.always, Part("large", 1 << 40)))
        return [own, large, dataclasses.replace(own, width=7)][len(proposed) - 1]

    monkeypatch.setattr(sizes.estimate, "estimate", proposals_are_odd)
    monkeypatch.setattr(session, "ATTEMPTS", 2)
    done = xmc("tune", *settings(corpus, output, AT_ONCE))
    assert done.stderr.count("not tried: ") == 2 and ": it would take 1,049,2" in done.stderr
    assert "classifier.fan_in=8 exceeds the 7 features" in done.stderr
    assert len(known(output)) == 1


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("budget=30", "budget: got '30'; give wall time such as 90s, 30min or 2h"),
        ("budget=0s", "budget: got '0s'"),
        ("resume=true", "resume: the same command again, without it, goes on where a study was interrupted"),
        ("trainer.metric=nDCG@4", "nDCG@4"),
        ("encoder.dropuot=0.1", "did you mean 'encoder.dropout'?"),
    ],
)
def test_mistakes_of_a_study_are_told(corpus: Path, tmp_path: Path, xmc: Run, given: str, told: str) -> None:
    failed = xmc("tune", *settings(corpus, tmp_path / "study", given), check=False)
    assert failed.returncode == 1 and told in failed.stderr
    assert not (tmp_path / "study").exists()


def test_without_dev_data_nothing_can_be_chosen(corpus: Path, tmp_path: Path, xmc: Run) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("train.jsonl", "labels.tsv"):
        (folder / name).write_bytes((corpus / name).read_bytes())
    given = settings(folder, tmp_path / "study", "data.dev_fraction=0")
    assert "chooses by a dev split" in xmc("tune", *given, check=False).stderr
    assert not (tmp_path / "study").exists()


def test_a_folder_holds_one_study(corpus: Path, tmp_path: Path, undisturbed: Path, xmc: Run) -> None:
    def refused(*given: object) -> str:
        return xmc("tune", *given, check=False).stderr

    same = settings(corpus, undisturbed)
    assert "other settings (encoder.dropout: given before or now alone)" in refused(*same, "encoder.dropout=0.5")
    assert "other settings (seed: '0', now '3'" in refused(*same, "seed=3")
    folder = tmp_path / "data"
    folder.mkdir()
    for path in corpus.iterdir():
        (folder / path.name).write_bytes(path.read_bytes().replace(b"noise1", b"noise2"))
    assert "holds a study of other data" in refused(*settings(folder, undisturbed))


def test_an_adjustment_that_pays_is_taken(
    corpus: Path, tmp_path: Path, undisturbed: Path, xmc: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = shutil.copytree(undisturbed, tmp_path / "study")
    for trial in known(output):
        Study(output / "study.db").remember(f"adjustment of {trial.number}", None)
    tried: list[object] = []

    def measure(*of_it: object) -> dict[str, float]:
        tried.append(of_it)
        return {"nDCG@5": 0.999 + 0.1 * len(tried)}

    monkeypatch.setattr(adjustment, "measure", measure)
    table = xmc("tune", *settings(corpus, output)).stdout
    assert f"trainer.logit_adjustment={adjustment.ADJUSTMENTS[-1]}" in table and len(tried) == len(
        adjustment.ADJUSTMENTS
    )
    assert "logit_adjustment: 0.3" in (output / "best.yaml").read_text()
    assert xmc("tune", *settings(corpus, output)).stdout == table and len(tried) == len(adjustment.ADJUSTMENTS)


def test_without_optuna(corpus: Path, tmp_path: Path, xmc: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    told = xmc("tune", *settings(corpus, tmp_path / "study"), check=False).stderr
    assert "xmc tune needs the package optuna: pip install 'xmc[tune]'" in told
