import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow  # `.ci/run` builds it strictly
@pytest.mark.skipif(shutil.which("mkdocs") is None, reason="needs the extra docs")
def test_the_site_is_whole_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    command = ["mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    keys = (tmp_path / "reference" / "parts.html").read_text()
    assert "sparsity.interval" in keys and "classifier.optimizer.lr" in keys and "encoder=transformer" in keys
    commands = (tmp_path / "reference" / "commands.html").read_text()
    assert "trainer.epochs" in commands and "documents the classifier sees in one step" in commands
    for page in tmp_path.rglob("*.html"):
        assert 'src="http' not in page.read_text(), page
