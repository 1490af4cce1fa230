from pathlib import Path

import pytest

from xmc.data.labels import read_labels_tsv
from xmc.errors import XMCError


def test_tsv(tmp_path: Path) -> None:
    path = tmp_path / "labels.tsv"
    path.write_text("\ufeffid\tname\r\nz\tlast, first\na\tB\tb\n\nn\t\n", encoding="utf-8")
    assert read_labels_tsv(path) == {"z": "last, first", "a": "B\tb", "n": "n"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("z\tlast\n", r"labels.tsv:1: expected the header `id<TAB>name`, found 'z\\tlast'"),
        ("id\tname\nz last\n", r"labels.tsv:2: expected `id<TAB>name`, found 'z last'"),
        ("id\tname\nz\tlast\ny\tb\nz\tagain\n", r"labels.tsv:4: label 'z' stands in line 2 already; remove one"),
        ("id\tname\n", r"labels.tsv: no labels; expected the header"),
    ],
)
def test_bad_tsv(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "labels.tsv"
    path.write_text(content)
    with pytest.raises(XMCError, match=message):
        read_labels_tsv(path)
