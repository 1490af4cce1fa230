"""Where the parts of a chart lie: lines over an axis, and a picture of signs. `templates/charts.html` draws them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 400, 240
TOP, BOTTOM, LEFT = 26, 40, 48  # of the frame; the right margin is as wide as the names of the lines
CHARACTER, LINE = 5.8, 12  # of the small type, in units of the drawing
COLOURS = 8
NAMED = 4  # lines of a chart that are named at their ends, at most; those of more stand below it
NAME = 22  # characters of a line's name
MARKED = 24  # points of a line that are drawn one by one, at most

Ticks = Sequence[tuple[float, str]]


@dataclass(frozen=True, slots=True)
class Line:
    """A named line through points. dashed: for what is there to compare with."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class DrawnLine:
    """A line on the page. style: its classes. points: x and y, and the value there. end: y of its name."""

    name: str
    style: str
    points: Sequence[tuple[float, float, float]]
    end: float

    @property
    def short_name(self) -> str:
        return _short(self.name)

    @property
    def marks(self) -> Sequence[tuple[float, float, float]]:
        """The points that are drawn one by one."""
        return self.points if len(self.points) <= MARKED else ()


@dataclass(frozen=True, slots=True)
class LineChart:
    """Lines in a frame that ends at `right`, and ticks at places of the page; without lines, nothing was logged."""

    title: str
    x_label: str
    y_label: str
    x_ticks: Ticks = ()
    y_ticks: Ticks = ()
    lines: Sequence[DrawnLine] = ()
    right: float = WIDTH

    @property
    def names_below(self) -> bool:
        """Whether the names of the lines stand below the chart."""
        return len(self.lines) > NAMED


@dataclass(frozen=True, slots=True)
class SignPicture:
    """Cells of `cell` units: row and column of those above and below 0. bottom: where the last row ends."""

    title: str
    x_label: str
    y_label: str
    y_ticks: Ticks
    positive: Sequence[Sequence[int]]
    negative: Sequence[Sequence[int]]
    cell: float
    bottom: float


@dataclass(frozen=True, slots=True)
class _Scale:
    """From values to places on the page."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        low, high, value = (math.log10(v) if self.logarithmic else v for v in (self.low, self.high, value))
        return round(self.start + (value - low) / (high - low) * (self.end - self.start), 1)


def line_chart(
    title: str,
    lines: Sequence[Line],
    *,
    x_label: str,
    y_label: str,
    x_ticks: Ticks | None = None,
    zero: bool = False,
    logarithmic: bool = False,
) -> LineChart:
    """Lines with their names, if they have any, at their ends, or below where they are many.

    x_ticks: places and texts, where the numbers themselves are not to be shown. zero: the vertical axis begins at 0.
    logarithmic: it has a logarithmic scale, and values of 0 or less are left out.
    """
    lines = [_drawable(line, logarithmic) for line in lines]
    shown = [line for line in lines if len(line.x)]
    if not shown:
        return LineChart(title, x_label, y_label)
    longest = max(len(_short(line.name)) for line in shown) if len(shown) <= NAMED else 0
    right = WIDTH - 12 - CHARACTER * longest
    places = [v for line in shown for v in line.x] + [v for v, _ in x_ticks or ()]
    x = _Scale(*_range(places, 0.0), LEFT, right)
    low, high = _range([v for line in shown for v in line.y], 0.0 if logarithmic else 0.04)
    y = _Scale(0.0 if zero else low, high, HEIGHT - BOTTOM, TOP, logarithmic)
    ends = _spread([y(line.y[-1]) for line in shown])
    return LineChart(
        title,
        x_label,
        y_label,
        x_ticks=[(x(v), text) for v, text in x_ticks or [(v, _number(v)) for v in _ticks(x.low, x.high, 5)]],
        y_ticks=[(y(v), _number(v)) for v in (_decades(y.low, y.high) if logarithmic else _ticks(y.low, y.high, 5))],
        lines=[
            DrawnLine(
                line.name,
                f"c{i % COLOURS}{' dashed' if line.dashed else ' dotted' if i >= COLOURS else ''}",
                [(x(a), y(b), b) for a, b in zip(line.x, line.y, strict=True)],
                end,
            )
            for i, (line, end) in enumerate(zip(shown, ends, strict=True))
        ],
        right=right,
    )


def sign_picture(title: str, signs: NDArray[np.int8], rows: Ticks, *, x_label: str, y_label: str) -> SignPicture:
    """A cell for each non-zero entry of `signs` [rows, columns], in one colour where positive, another where negative.

    rows: places of the vertical axis that have a text.
    """
    height, width = signs.shape
    cell = (WIDTH - LEFT) / width
    positive, negative = (np.argwhere(signs == sign).tolist() for sign in (1, -1))
    ticks = [(TOP + (row + 0.5) * cell, text) for row, text in rows]
    return SignPicture(title, x_label, y_label, ticks, positive, negative, cell, bottom=TOP + height * cell)


def _drawable(line: Line, logarithmic: bool) -> Line:
    kept = [(x, y) for x, y in zip(line.x, line.y, strict=True) if math.isfinite(y) and (y > 0 or not logarithmic)]
    return Line(line.name, [x for x, _ in kept], [y for _, y in kept], line.dashed)


def _range(values: Sequence[float], margin: float) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = margin * (high - low) or (0.0 if high > low else 0.1 * abs(high) or 1.0)
    return low - room, high + room


def _ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers in a range: steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = min((m * power for m in (1, 2, 5, 10)), key=lambda step: abs(math.log(step / rough)))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def _decades(low: float, high: float) -> list[float]:
    """Powers of ten in a range, with twice and five times them where there are few, or what `_ticks` gives."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for multiples in ((1,), (1, 2, 5)):
        ticks = [m * 10.0**p for p in powers for m in multiples if low <= m * 10.0**p <= high]
        if len(ticks) >= 3:
            return ticks[:: math.ceil(len(ticks) / 6)]
    return _ticks(low, high, 5)


def _number(value: float) -> str:
    """A tick's text: 0.05, 5, 5,000, 5k, 1e-06."""
    if value != 0 and not 1e-3 <= abs(value) < 1e7:
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value / 1000:g}k" if abs(value) >= 1e4 else f"{value:,.6g}"


def _spread(places: Sequence[float]) -> list[float]:
    """The places, moved apart until each has room for a line of text, and none outside the frame."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved = [places[i] for i in order]
    for i in range(1, len(moved)):
        moved[i] = max(moved[i], moved[i - 1] + LINE)
    floor = HEIGHT - BOTTOM
    for i in reversed(range(len(moved))):
        moved[i] = min(moved[i], floor if i == len(moved) - 1 else moved[i + 1] - LINE)
    return [place for _, place in sorted(zip(order, moved, strict=True))]


def _short(name: str) -> str:
    return name if len(name) <= NAME else f"{name[: NAME - 1]}…"
