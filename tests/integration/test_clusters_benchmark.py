"""scripts/benchmarks/clusters.py: what needs no engine of others says the same, is measured and kept."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_predict_and_jobs(trained: Path, corpus: Path, tmp_path: Path) -> None:
    script, texts = ROOT / "scripts" / "benchmarks" / "clusters.py", corpus / "test.jsonl"
    sizes = ("--documents", "150", "--files", "2", "--engines", "predict", "jobs")
    command = [sys.executable, script, trained, texts, tmp_path / "out", *sizes]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    told = json.loads((tmp_path / "out" / "clusters.json").read_text())
    assert told["same"] and told["documents"] == 150
    assert all(told[name][figure] > 0 for name in ("predict", "jobs") for figure in ("seconds", "mib"))
    rows = [pq.read_metadata(path).num_rows for path in sorted((tmp_path / "out" / "jobs").iterdir())]
    assert rows == [86, 64]
