"""Every command that loads a model leaves its code alone, whatever stands on standard input."""

import shutil
from pathlib import Path

import pytest
from harness import Run, small
from hostile import Sort, model_code, shards_in_a_pickle, tokenizer_code

RUN = "run={run}"
COMMANDS: dict[str, list[str]] = {
    "predict": ["predict", RUN, "input={test}", "output={out}"],
    "predict -": ["predict", RUN, "input=-", "output={out}"],
    "predict model": ["predict", "run={run}/model", "input=-", "output={out}"],
    "evaluate": ["evaluate", RUN],
    "calibrate": ["calibrate", RUN],
    "blend": ["blend", "runs={run}", "neighbours={run}", "run={out}"],
    "report": ["report", RUN, "output={out}"],
    "add-labels": ["add-labels", RUN, "input={test}", "output={out}"],
    "finetune": ["finetune", "from={run}", "run={out}"],
    "train": ["train", "encoder=transformer", "encoder.name={run}/model/encoder", "run={out}"],
    "estimate": ["estimate", "encoder=transformer", "encoder.name={run}/model/encoder"],
    "flops": ["flops", "encoder=transformer", "encoder.name={run}/model/encoder"],
    "coordinate-check": ["coordinate-check", "encoder=transformer", "encoder.name={run}/model/encoder"],
}


@pytest.mark.parametrize("sort", [tokenizer_code, model_code, shards_in_a_pickle], ids=lambda sort: sort.__name__)
@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_of_a_model_runs(
    command: str, sort: Sort, trained: Path, corpus: Path, tmp_path: Path, xmc: Run
) -> None:
    run, marker = tmp_path / "run", tmp_path / "marker"
    shutil.copytree(trained, run, ignore=shutil.ignore_patterns("checkpoints"))
    sort(run / "model" / "encoder", marker)
    given = [part.format(run=run, test=corpus / "test.jsonl", out=tmp_path / "out") for part in COMMANDS[command]]
    if given[0] in ("finetune", "train", "estimate", "flops", "coordinate-check"):
        keys = ("data", "trainer", "encoder=", "encoder.name=", "run=", "from=")
        given = [o for o in map(str, small(corpus, *given[1:])) if o.startswith(keys)]
        given.insert(0, COMMANDS[command][0])
    refused = xmc(*given, input="y\n" * 9, check=False)
    assert not marker.exists()
    if command != "estimate" or sort is model_code:  # an estimate reads no tokenizer and no weights
        assert refused.returncode == 1, refused.stderr
        assert refused.stderr.splitlines()[-1].startswith(f"xmc {given[0]}: ")  # the error, which is one line
