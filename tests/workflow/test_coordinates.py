from pathlib import Path

import pytest

from xmc.workflow.coordinates import Point, drift, plot, table

POINTS = [
    Point("standard", 16, (1.0, 3.0)),
    Point("standard", 64, (7.0, 9.0)),
    Point("supar", 16, (2.0, 2.0)),
    Point("supar", 64, (3.0, 3.0)),
]


def test_drift_is_the_largest_mean_over_the_smallest() -> None:
    assert drift(POINTS, "standard") == 4
    assert drift(POINTS, "supar") == 1.5


def test_the_table_has_a_row_a_parametrization() -> None:
    head, _, standard, supar = table(POINTS).splitlines()
    assert "K = 16 | K = 64" in head
    assert standard == "| standard | 2.0000 | 8.0000 | 4.00 |"
    assert supar == "| supar | 2.0000 | 3.0000 | 1.50 |"


def test_the_plot_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    plot(POINTS, tmp_path / "check.png")
    assert (tmp_path / "check.png").read_bytes().startswith(b"\x89PNG")
