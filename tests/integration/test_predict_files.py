"""xmc predict over files, as jobs that are killed and given again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from harness import Run
from test_bad_input import fails

from xmc.workflow.resuming import manifest_of

DOCUMENTS = 3000
AS_A_USER = """
import sys
from xmc.workflow import resuming
resuming._EVERY = 0
sys.argv = ["xmc", *sys.argv[1:]]
from xmc.__main__ import main
main()
"""


def write(folder: Path, files: int) -> None:
    folder.mkdir()
    for number in range(files):
        with open(folder / f"part-{number}.jsonl", "w") as out:
            for i in range(number * DOCUMENTS // files, (number + 1) * DOCUMENTS // files):
                text = "" if i % 500 == 7 else f"word{i % 12}a word{i % 7}b"
                out.write(json.dumps({"id": f"d{i}", "text": text}) + "\n")


def killed_at(documents: int, command: list[str], output: Path) -> None:
    """Run the command until that many documents are kept, and kill it."""
    with subprocess.Popen([sys.executable, "-c", AS_A_USER, *command], stderr=subprocess.PIPE) as process:
        until = time.monotonic() + 300
        while process.poll() is None and time.monotonic() < until:
            manifest = manifest_of(output)
            if manifest.exists() and json.loads(manifest.read_text())["state"]["documents"] >= documents:
                break
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL and not output.exists()


TWICE = [pytest.param(suffix, (100, 1200), marks=pytest.mark.slow) for suffix in ("csv", "parquet")]


@pytest.mark.parametrize(("suffix", "kills"), [("parquet", (1200,)), *TWICE])
def test_killed_the_output_is_that_of_an_undisturbed_run(
    trained: Path, tmp_path: Path, xmc: Run, suffix: str, kills: tuple[int, ...]
) -> None:
    write(tmp_path / "docs", 3)
    given = [f"run={trained}", f"input={tmp_path / 'docs'}", "k=3", "on_error=skip", "batch_size=16", "threads=1"]
    output, errors = tmp_path / f"out.{suffix}", tmp_path / "errors"
    command = ["predict", *given, f"output={output}", f"errors={errors}", "resume=true"]
    xmc("predict", *given, f"output={tmp_path / 'whole'}", f"format={suffix}", f"errors={tmp_path / 'wrong'}")
    for documents in kills:
        killed_at(documents, command, output)
    assert "k=3 (now k=4)" in fails(xmc, *[*command, "k=4"])
    assert "add resume=true" in fails(xmc, *command[:-1])
    xmc(*command)
    assert output.read_bytes() == (tmp_path / "whole").read_bytes()
    assert errors.read_bytes() == (tmp_path / "wrong").read_bytes()
    assert not output.with_name(f"{output.name}.partial").exists()
    changed = output.stat().st_mtime_ns
    assert "nothing is to be done" in xmc(*command).stderr and output.stat().st_mtime_ns == changed
    assert suffix != "parquet" or pq.read_metadata(output).num_rows == DOCUMENTS - 6


def test_shards_are_the_whole(trained: Path, tmp_path: Path, xmc: Run) -> None:
    write(tmp_path / "docs", 2)
    given = ["predict", f"run={trained}", f"input={tmp_path / 'docs' / '*.jsonl'}", "k=2", "on_error=skip"]
    xmc(*given, f"output={tmp_path / 'whole.jsonl'}")
    shards = []
    for number in (1, 2):
        xmc(*given, f"output={tmp_path / 'part.jsonl'}", f"shard={number}/2")
        shards.append((tmp_path / "part.jsonl").read_text().splitlines())
    assert sorted([*shards[0], *shards[1]]) == sorted((tmp_path / "whole.jsonl").read_text().splitlines())
    assert abs(len(shards[0]) - len(shards[1])) <= 64 + 6


def test_a_text_and_texts(trained: Path, tmp_path: Path, xmc: Run) -> None:
    told = json.loads(xmc("predict", f"run={trained}", "text=word5a, word5b = word5c", "k=1").stdout)
    assert (told["id"], told["labels"][0]["label"]) == ("1", "topic5")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.txt").write_text("word3a\nword3b")
    told = json.loads(xmc("predict", f"run={trained}", f"input={tmp_path}", "k=1").stdout)
    assert (told["id"], told["labels"][0]["label"]) == ("deep/a.txt", "topic3")


def test_what_does_not_go_together(trained: Path, tmp_path: Path, xmc: Run) -> None:
    for given, told in [
        ([], "give either input=, a file, pattern or folder, or - for standard input, or text=, a text"),
        (["input=-", "text=x"], "give either input=, a file, pattern or folder"),
        (["input=[-,x]"], "input: - is standard input, and stands alone"),
        (["input=-", "resume=true", "output=x"], "resume=true: standard input cannot be read a second time"),
        (["text=x", "resume=true"], "resume=true: output=- is no file"),
        (["text=x", "errors=x"], "errors: the first document that cannot be used ends the command; add on_error=skip"),
        (["text=x", "shard=3/2"], "shard: got '3/2'; give i/n, from 1/n to n/n"),
        (["text=x", "explain=true", "output=x.csv"], "explain=true: format=csv has no place for reasons"),
    ]:
        assert told in fails(xmc, "predict", f"run={trained}", *given)
