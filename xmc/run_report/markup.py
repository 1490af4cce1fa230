"""Elements of a page. Texts are escaped when the page is written, so no text can become markup."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, tostring

Content = Element | str
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


Cell = Content | Number


def element(tag: str, *content: Content, **attributes: object) -> Element:
    """`<tag attributes>content</tag>`; a trailing underscore of a name is dropped, the others become hyphens."""
    made = Element(tag, {name.rstrip("_").replace("_", "-"): str(value) for name, value in attributes.items()})
    for part in content:
        if isinstance(part, Element):
            made.append(part)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + part
        else:
            made.text = (made.text or "") + part
    return made


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[Cell]], *, texts: int = 1) -> Element:
    """A table that sorts by a click on a column's head. texts: how many columns, from the left, are words."""
    aligned = ["text" if i < texts else "number" for i in range(len(head))]
    heads = [
        element("th", element("button", name, type="button"), scope="col", class_=align) if name else element("th")
        for name, align in zip(head, aligned, strict=True)
    ]
    body = [element("tr", *(_cell(cell, align) for cell, align in zip(row, aligned, strict=True))) for row in rows]
    made = element(
        "table", element("caption", caption), element("thead", element("tr", *heads)), element("tbody", *body)
    )
    return element("div", made, class_="scroll", tabindex=0, role="group", aria_label=caption)


def section(title: str, *content: Content) -> Element:
    return element("section", element("h2", title), *content, id=title.lower().replace(" ", "-"))


def note(text: str) -> Element:
    return element("p", text, class_="note")


def missing(reason: str) -> Element:
    """In the place of what cannot be shown."""
    return element("p", reason, class_="missing")


def _cell(cell: Cell, align: str) -> Element:
    if isinstance(cell, Number):
        detail = [] if cell.detail is None else [element("small", cell.detail)]
        return element("td", cell.text, *detail, class_=f"{align} {cell.style}".strip(), data_value=cell.value)
    return element("td", cell, class_=align)


def document(title: str, style: str, script: str, *content: Content) -> str:
    """A whole page that may load nothing, from anywhere: its own policy forbids it."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("link", rel="icon", href="data:,"),
        element("title", title),
        element("style", style),
    )
    page = element("html", head, element("body", element("main", *content), element("script", script)), lang="en")
    text = tostring(page, encoding="unicode", method="html")
    return "<!doctype html>\n" + text.encode("utf-8", "replace").decode() + "\n"
