import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xmc.run_report.charts import HEIGHT, WIDTH, Line, LineChart, Ticks, line_chart, sign_picture


def drawn(*lines: Line, **more: object) -> LineChart:
    return line_chart("A title", lines, x_label="step", y_label="percent", **more)


def texts(ticks: Ticks) -> list[str]:
    return [text for _, text in ticks]


numbers = st.floats(-1e12, 1e12).filter(lambda v: v == 0 or abs(v) > 1e-12)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 10**6), numbers), min_size=1, max_size=20), st.booleans(), st.booleans())
def test_whatever_is_drawn_stays_inside(values: list[tuple[int, float]], zero: bool, logarithmic: bool) -> None:
    values.sort()
    ys = [abs(y) for _, y in values] if zero else [y for _, y in values]
    chart = drawn(Line("a", [x for x, _ in values], ys), zero=zero and not logarithmic, logarithmic=logarithmic)
    for line in chart.lines:
        assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT and math.isfinite(x + y) for x, y, _ in line.points)


def test_ticks_are_round_numbers_and_axes_have_names() -> None:
    chart = drawn(Line("a", [0, 700], [41.3, 92.7]))
    assert {"50", "60", "70", "80", "90"} <= set(texts(chart.y_ticks))
    assert {"0", "200", "400", "600"} <= set(texts(chart.x_ticks))
    assert (chart.y_label, chart.x_label) == ("percent", "step")
    large = drawn(Line("a", [0, 1], [0, 250_000]))
    assert {"50k", "200k"} <= set(texts(large.y_ticks))


def test_logarithmic_axes_leave_out_what_they_cannot_show() -> None:
    (line,) = drawn(Line("a", [1, 2, 3], [0.001, 0.0, 0.1]), logarithmic=True).lines
    assert [value for _, _, value in line.points] == [0.001, 0.1]


def test_names_at_the_ends_do_not_overlap() -> None:
    chart = drawn(*(Line(f"run {i}", [0, 1], [0, 50 + 0.01 * i]) for i in range(6)))
    places = sorted(line.end for line in chart.lines)
    assert len(places) == 6 and min(np.diff(places)) >= 11.9


def test_a_long_name_is_cut_and_told_in_full() -> None:
    (line,) = drawn(Line("encoder.layer.11.attention.output", [0, 1], [0, 1])).lines
    assert (line.short_name, line.name) == ("encoder.layer.11.atte…", "encoder.layer.11.attention.output")


def test_few_points_are_marked_one_by_one() -> None:
    few, many = drawn(Line("few", [0, 1], [0, 1]), Line("many", range(99), range(99))).lines
    assert len(few.marks) == 2 and len(many.marks) == 0


@pytest.mark.parametrize("lines", [[], [Line("a", [], [])], [Line("a", [1], [math.nan])]], ids=str)
def test_a_chart_of_nothing_has_no_lines(lines: list[Line]) -> None:
    assert not drawn(*lines).lines


def test_a_picture_has_a_cell_for_each_sign() -> None:
    signs = np.array([[1, 0, -1], [0, 0, 1]], dtype=np.int8)
    picture = sign_picture("Index", signs, [(0, "9"), (1, "4")], x_label="features", y_label="labels")
    assert (picture.positive, picture.negative) == ([[0, 0], [1, 2]], [[0, 2]])  # row, column
    assert texts(picture.y_ticks) == ["9", "4"]
    assert picture.bottom > picture.y_ticks[1][0] > picture.y_ticks[0][0]
