from pathlib import Path

import pytest

from xmc.data.filters import StreamFilter
from xmc.errors import XMCError


def test_of_a_stream(tmp_path: Path) -> None:
    path = tmp_path / "filter.txt"
    path.write_bytes(b"\xef\xbb\xbf2 1\r\n0 3\r\n2 0\r\n")
    filter = StreamFilter(path, 4)
    assert filter.left_out == {2: [1, 0], 0: [3]}
    assert list(filter.checked("abc")) == ["a", "b", "c"]
    documents = filter.checked("ab")
    assert [next(documents), next(documents)] == ["a", "b"]
    with pytest.raises(XMCError, match=r"filter.txt:1: document 2 is out of range, there are 2 from 0 to 1; is it the"):
        next(documents)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("0 1\n0 4\n", r"filter.txt:2: label 4 is out of range, there are 4 from 0 to 3"),
        ("-1 1\n", r"filter.txt:1: document -1 is out of range; is it the filter"),
        ("0 1\n1_0 1\n", r"filter.txt:2: expected `document label`, two whole numbers, found '1_0 1'"),
        ("0 \u0661\n", r"filter.txt:1: expected `document label`, two whole numbers"),
        ("0 1\n0,1\n", r"filter.txt:2: expected `document label`, two whole numbers, found '0,1'"),
    ],
)
def test_bad_pairs(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "filter.txt").write_text(content)
    with pytest.raises(XMCError, match=told):
        StreamFilter(tmp_path / "filter.txt", 4)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(XMCError, match=r"no file .*filter.txt"):
        StreamFilter(tmp_path / "filter.txt", 4)
