import io
from pathlib import Path

import pytest
from pydantic import ValidationError

from xmc.commands.outputs import check_apart, check_output
from xmc.commands.predict import PredictConfig
from xmc.data.sources import Sources
from xmc.errors import XMCError


@pytest.mark.parametrize(
    ("output", "format", "told"),
    [
        ("", "jsonl", "output= is empty; give a file to write, or - for standard output"),
        (".", "jsonl", "output=. is a folder; give a file in it, such as output=predictions.jsonl"),
        ("x.tsv", "jsonl", "output=x.tsv: no format of predictions has names in .tsv; give output=x.jsonl, .csv or "),
        ("x.CSV", "annif", "output=x.CSV is named as format=csv, not annif; leave format out, or rename it"),
        ("-", "parquet", "output=-: format=parquet needs a file, and packs it itself; give output=<file>.parquet"),
        ("x.parquet.gz", "parquet", "output=x.parquet.gz: format=parquet needs a file, and packs it itself"),
    ],
)
def test_an_output_that_cannot_be_what_is_wanted(output: str, format: str, told: str) -> None:
    with pytest.raises(XMCError) as error:
        check_output(output, format)  # type: ignore[arg-type]
    assert told in str(error.value)


def test_outputs_that_can_be_written(tmp_path: Path) -> None:
    for output in ("-", "/dev/null", "x.jsonl", "x.json", "x.txt", "x", "x.jsonl.gz", str(tmp_path / "new")):
        check_output(output, "jsonl")
    for output in ("-", "x.csv", "x.csv.gz", "x"):
        check_output(output, "csv")
    check_output("x.parquet", "parquet")


def apart(**given: str) -> None:
    config = PredictConfig.model_validate({"run": "r", **given})
    check_apart(config, None if config.input in (None, ("-",)) else Sources(config.input or ()))


def test_what_is_written_is_not_what_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in.jsonl").touch()
    Path("again.jsonl").symlink_to("in.jsonl")
    Path("docs").mkdir()
    Path("docs/a.jsonl").touch()
    for given, told in [
        ({"input": "in.jsonl", "output": "in.jsonl"}, "output=in.jsonl is among what in.jsonl is read from"),
        ({"input": "in.jsonl", "output": "again.jsonl"}, "output=again.jsonl is among what in.jsonl is read from"),
        ({"input": "docs", "output": "docs/new.jsonl"}, "output=docs/new.jsonl is among what docs is read from"),
        ({"input": "docs", "output": "x", "errors": "x"}, "errors=x is the file of output, too; give another file"),
        ({"input": "docs", "output": "in.jsonl", "filter": "in.jsonl"}, "output=in.jsonl is the file of filter, too"),
    ]:
        with pytest.raises(XMCError) as error:
            apart(**given)
        assert told in str(error.value)
    apart(input="in.jsonl", output="new.jsonl", errors="bad.jsonl", filter="missing")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    apart(input="-", output="in.jsonl")
    with open("in.jsonl") as stream:
        monkeypatch.setattr("sys.stdin", stream)
        with pytest.raises(XMCError, match=r"output=in\.jsonl is the file of standard input, too"):
            apart(input="-", output="in.jsonl")


@pytest.mark.parametrize("shard", ["0/3", "4/3", "1", "1/0", "-1/2", "1/2/3", "a/b", "1/٣"])
def test_shards_that_are_none(shard: str) -> None:
    with pytest.raises(ValidationError, match="give i/n, from 1/n to n/n, such as 3/8"):
        PredictConfig(run="r", shard=shard)
