"""Labels that stand in one text: divided by a separator, or as the list or set that a program printed."""

import ast
import json
import re
from collections.abc import Iterable
from contextlib import suppress

from xmc.errors import XMCError

_ITEM = re.compile(
    r"""(np\.\w+\()?(?P<item>u?(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|-?[0-9]+)(?(1)\))(?=[\s,]|\Z)""", re.DOTALL
)
_SET = re.compile(r"(?:frozen)?set\((.*)\)", re.DOTALL)
_BEGINS = re.compile(r"""(?:\w+\()?[\[({][\s\[({]*(?:[ub]|np\.\w+\()?['"]""")
_ENDS = {"[": "]", "{": "}", "(": ")"}
_SEPARATORS = (",", ";", "|", " ")


def cell_labels(cell: str, separator: str, where: str) -> list[str]:
    """The labels of a text. A list of JSON, Python or numpy (`["a", "b"]`, `['a' 'b']`, `[1, 2]`) is one anywhere,
    and so are tuples, sets, and lists of `u'a'` or `np.str_('a')`.

    Raises XMCError for what begins as such a list, `["`, and is none, and for an empty separator.
    """
    if not separator:
        raise XMCError(f"{where} cannot be divided at an empty label_separator; give at least one character")
    listed = _listed(cell.strip(), where)
    parts = cell.split(separator) if listed is None else listed
    return [label for part in parts if (label := part.strip())]


def advice(cells: Iterable[str], separator: str, option: str) -> str | None:
    """What to do where another separator fits these texts far better, or where they are lists without quotes.

    One fits better under which the same texts have a fifth fewer different labels, or no more where the separator
    that is set hardly occurs. A space is proposed only between codes, since names have spaces.
    """
    split = [text for cell in cells if (text := cell.strip()) and not _meant_as_list(text)]
    if len(split) < 2:
        return None
    bracketed = [cell for cell in split if cell[0] + cell[-1] in ("[]", "{}")]
    if 2 * len(bracketed) > len(split):
        return (
            f"texts such as {bracketed[0]!r:.60} are divided at {separator!r}, brackets and all; "
            'a list has its labels in quotes: ["a", "b"]'
        )
    now = _different(split, separator)
    seldom = 20 * sum(separator in cell for cell in split) < len(split)
    for other in _SEPARATORS:
        within = [cell for cell in split if other in cell]
        if other == separator or len(within) < max(2, len(split) / 5):
            continue
        then = _different(split, other)
        if other == " " and not all(any(map(str.isdigit, label)) for label in then):
            continue
        if len(then) <= (len(now) if seldom else 0.8 * len(now)):
            return (
                f"divided at {separator!r}, {len(split):,} texts have {len(now):,} different labels, such as "
                f"{next(cell for cell in now if other in cell)!r:.60}; at {other!r}, {len(then):,}. "
                f"Set '{option}=\"{other}\"' if these are several labels"
            )
    return None


def _listed(cell: str, where: str) -> list[str] | None:
    """The items of a list, tuple or set; None where it is none."""
    literal = (found[1] or "{}") if (found := _SET.fullmatch(cell)) else cell
    opening, inside, closing = literal[:1], literal[1:-1].strip(), literal[1:][-1:]
    of_items = _ENDS.get(opening) == closing and not _ITEM.sub("", inside).strip(" ,\t\r\n")
    if of_items and (opening != "(" or "," in inside or not inside):  # `(1)` is no tuple
        with suppress(ValueError, SyntaxError):
            return [_item(item["item"]) for item in _ITEM.finditer(inside)]
    if _BEGINS.match(cell):
        raise XMCError(f'{where} is no list: {cell!r:.60}; expected one of texts or whole numbers, such as ["a", "b"]')
    return None


def _meant_as_list(cell: str) -> bool:
    try:
        return _listed(cell, "") is not None
    except XMCError:
        return True


def _item(item: str) -> str:
    if item[0] not in "u\"'":
        return item
    item = item.removeprefix("u")
    text = item[1:-1]
    if "\\" in text:
        text = _unescaped(item)
        text.encode()  # half of a surrogate pair is no text
    return text


def _unescaped(literal: str) -> str:
    with suppress(ValueError):
        return str(json.loads(literal))
    return str(ast.literal_eval(literal))


def _different(cells: Iterable[str], separator: str) -> list[str]:
    return list(dict.fromkeys(label for cell in cells for part in cell.split(separator) if (label := part.strip())))
