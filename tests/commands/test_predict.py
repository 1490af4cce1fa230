import io
from pathlib import Path

import pytest

from xmc.commands.predict import check_output
from xmc.errors import XMCError


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("", "output= is empty; give a file to write, or - for standard output"),
        (".", "output=. is a folder; give a file in it, such as output=predictions.jsonl"),
        ("x.parquet", "output=x.parquet: predictions are text (format=jsonl), which no .parquet file holds; give "),
        ("x.CSV", "output=x.CSV: predictions are text (format=jsonl), which no .CSV file holds; give output=x.jsonl"),
        ("in.jsonl", "output=in.jsonl is the file that in.jsonl is read from; give another file"),
        ("again.jsonl", "output=again.jsonl is the file that in.jsonl is read from; give another file"),
    ],
)
def test_an_output_that_cannot_be_what_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in.jsonl").touch()
    Path("again.jsonl").symlink_to("in.jsonl")
    with pytest.raises(XMCError) as error:
        check_output(output, "jsonl", "in.jsonl", None)
    assert told in str(error.value)


def test_outputs_that_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in.jsonl").touch()
    for output in ("-", "/dev/null", "x.jsonl", "x.json", "x.txt", "x", "x.jsonl.gz", str(tmp_path / "new")):
        check_output(output, "jsonl", str(tmp_path / "in.jsonl"), "missing")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    check_output(str(tmp_path / "in.jsonl"), "jsonl", "-")
    monkeypatch.setattr("sys.stdin", open(tmp_path / "in.jsonl"))  # noqa: SIM115
    with pytest.raises(XMCError, match=r"is the file that - is read from"):
        check_output(str(tmp_path / "in.jsonl"), "jsonl", "-")
