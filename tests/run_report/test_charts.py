import math
import re
from xml.etree.ElementTree import Element

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xmc.run_report.charts import HEIGHT, WIDTH, Line, line_chart, sign_picture


def drawn(*lines: Line, **more: object) -> Element:
    return line_chart("A title", lines, x_label="step", y_label="percent", **more)


def texts(chart: Element, style: str) -> list[str]:
    return [text.text or "" for text in chart.iter("text") if style in text.get("class", "").split()]


def points(chart: Element) -> list[list[tuple[float, float]]]:
    return [
        [tuple(map(float, pair.split(","))) for pair in line.get("points", "").split()]
        for line in chart.iter("polyline")
    ]


numbers = st.floats(-1e12, 1e12).filter(lambda v: v == 0 or abs(v) > 1e-12)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 10**6), numbers), min_size=1, max_size=20), st.booleans(), st.booleans())
def test_whatever_is_drawn_stays_inside(values: list[tuple[int, float]], zero: bool, logarithmic: bool) -> None:
    values.sort()
    ys = [abs(y) for _, y in values] if zero else [y for _, y in values]
    chart = drawn(Line("a", [x for x, _ in values], ys), zero=zero and not logarithmic, logarithmic=logarithmic)
    for line in points(chart):
        assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT and math.isfinite(x + y) for x, y in line)


def test_ticks_are_round_numbers_and_axes_have_names() -> None:
    chart = drawn(Line("a", [0, 700], [41.3, 92.7]))
    assert {"50", "60", "70", "80", "90", "0", "200", "400", "600"} <= set(texts(chart, "tick"))
    assert texts(chart, "label") == ["percent", "step"]
    large = drawn(Line("a", [0, 1], [0, 250_000]))
    assert {"50k", "200k"} <= set(texts(large, "tick"))


def test_logarithmic_axes_leave_out_what_they_cannot_show() -> None:
    (line,) = points(drawn(Line("a", [1, 2, 3], [0.001, 0.0, 0.1]), logarithmic=True))
    assert len(line) == 2


def test_names_at_the_ends_do_not_overlap() -> None:
    chart = drawn(*(Line(f"run {i}", [0, 1], [0, 50 + 0.01 * i]) for i in range(6)))
    places = sorted(float(t.get("y", "")) for t in chart.iter("text") if "name" in t.get("class", ""))
    assert len(places) == 6 and min(np.diff(places)) >= 11.9


def test_a_long_name_is_cut_and_told_in_full() -> None:
    chart = drawn(Line("encoder.layer.11.attention.output", [0, 1], [0, 1]))
    assert texts(chart, "name") == ["encoder.layer.11.atte…"]
    assert any(title.text == "encoder.layer.11.attention.output" for title in chart.iter("title"))


@pytest.mark.parametrize("lines", [[], [Line("a", [], [])], [Line("a", [1], [math.nan])]], ids=str)
def test_nothing_to_draw_is_said(lines: list[Line]) -> None:
    chart = drawn(*lines)
    assert chart.find("svg") is None and "no such figures" in "".join(chart.itertext())


def test_a_picture_has_a_cell_for_each_sign() -> None:
    signs = np.array([[1, 0, -1], [0, 0, 1]], dtype=np.int8)
    chart = sign_picture("Index", signs, [(0, "9"), (1, "4")], x_label="features", y_label="labels")
    cells = {path.get("class"): re.findall(r"M(\d) (\d)", path.get("d", "")) for path in chart.iter("path")}
    assert cells == {"positive": [("0", "0"), ("2", "1")], "negative": [("2", "0")]}
    assert texts(chart, "tick") == ["9", "4"]
