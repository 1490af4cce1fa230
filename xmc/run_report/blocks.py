"""What a page is made of: values, each drawn by the macro of `templates/blocks.html` that its class names."""

from collections.abc import Sequence
from dataclasses import dataclass

from xmc.run_report.charts import LineChart, SignPicture
from xmc.run_report.facts import Example, Missing

ABSENT = "\u2013"  # a cell without a value
MINUS = "\u2212"


@dataclass(frozen=True, slots=True)
class Number:
    """A cell that sorts by its value.

    detail: stands behind it in small type; None where the column has no such. style: a class of the page's style.
    """

    text: str
    value: float
    detail: str | None = None
    style: str = ""


@dataclass(frozen=True, slots=True)
class Code:
    """A cell as it is typed."""

    text: str


Cell = str | Number | Code


@dataclass(frozen=True, slots=True)
class Table:
    """A table that sorts by a click on a column's head. texts: how many columns, from the left, are words."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    texts: int = 1


@dataclass(frozen=True, slots=True)
class Figures:
    """Charts side by side."""

    charts: Sequence[LineChart | SignPicture]


@dataclass(frozen=True, slots=True)
class Folded:
    """What is shown after a click on its summary."""

    summary: str
    body: Table | Figures


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A text that begins with what it is about."""

    lead: str
    text: str


@dataclass(frozen=True, slots=True)
class Note:
    """How a section is to be read."""

    text: str


@dataclass(frozen=True, slots=True)
class Heading:
    """Of a part of a section."""

    text: str


Block = Table | Figures | Folded | Paragraph | Note | Heading | Example | Missing


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page that its contents name."""

    title: str
    blocks: Sequence[Block]

    @property
    def anchor(self) -> str:
        return self.title.lower().replace(" ", "-")
