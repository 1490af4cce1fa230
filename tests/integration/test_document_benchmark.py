"""scripts/benchmarks/document.py: the time of one document is measured, printed and kept."""

import json
import sys
from pathlib import Path

import pytest
import torch
from harness import script_module

SCRIPT = Path(__file__).parents[2] / "scripts" / "benchmarks" / "document.py"


def test_one_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    module = script_module(SCRIPT, monkeypatch)
    sizes = {"labels": 300, "fan-in": 4, "width": 16, "vocabulary": 200, "documents": 3, "repeats": 2}
    options = [str(part) for name, size in sizes.items() for part in (f"--{name}", size)]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *options, "--out", str(tmp_path / "document")])
    before = torch.get_num_threads()
    try:
        module.main()
    finally:
        torch.set_num_threads(before)
    (row,) = json.loads((tmp_path / "document.json").read_text())
    assert (row["labels"], row["fan_in"], row["threads"]) == (300, 4, 1)
    assert all(row[part] > 0 for part in ("tokens", "features", "ranking", "whole", "median"))
    assert "| 300 | 4 | 1 |" in capsys.readouterr().out
