"""Label vocabularies: the file `labels.tsv` beside a data set."""

from pathlib import Path

from xmc.data.files import numbered_lines, open_bytes, utf8
from xmc.types import XMCError


def read_labels_tsv(path: Path) -> dict[str, str]:
    """Names by label id, in the order of a file with the header `id<TAB>name` and a label a line."""
    names: dict[str, str] = {}
    first_line: dict[str, int] = {}
    with open_bytes(path) as stream:
        for number, raw in numbered_lines(stream, str(path)):
            where = f"{path}:{number}"
            line = utf8(raw, where).rstrip("\r\n")
            label, tab, name = line.partition("\t")
            if number == 1:
                if (label, name) != ("id", "name"):
                    raise XMCError(f"{where}: expected the header `id<TAB>name`, found {line!r}")
                continue
            if not line:
                continue
            if not label or not tab:
                raise XMCError(f"{where}: expected `id<TAB>name`, found {line!r}")
            if label in names:
                raise XMCError(f"{where}: label {label!r} stands in line {first_line[label]} already; remove one")
            names[label], first_line[label] = name or label, number
    if not names:
        raise XMCError(f"{path}: no labels; expected the header `id<TAB>name` and a label a line, or no such file")
    return names
