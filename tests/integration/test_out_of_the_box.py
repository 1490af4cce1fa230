import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "out_of_the_box.py"


def test_sets_are_trained_measured_and_told_in_one_table(corpus: Path, tmp_path: Path) -> None:
    output, more = tmp_path / "figures.json", ["trainer.max_steps=8", "encoder.width=32"]
    done = subprocess.run(
        [
            sys.executable,
            SCRIPT,
            f"{corpus}:text",
            "--seeds",
            "3",
            "--output",
            output,
            "--keep",
            tmp_path,
            "--set",
            *more,
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    (figures,) = json.loads(output.read_text())
    assert figures["set"] == corpus.name and figures["seed"] == 3
    assert all(0 <= figures[name] <= 100 for name in ("P@1", "nDCG@5", "PSP@5"))
    assert figures["cpu_s"] > 1 and figures["peak_mib"] > 100 and figures["model_mib"] > 0.01
    assert f"| {corpus.name} | 1 | {figures['P@1']:.2f} |" in done.stdout
    assert "recipe: trainer.epochs" in done.stderr and "lexical half" in done.stderr
