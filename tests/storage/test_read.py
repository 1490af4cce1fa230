from pathlib import Path

import pytest

from xmc.errors import XMCError
from xmc.storage import parse_json, read_json


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"a": }', r"malformed JSON, Expecting value at column 7: '\{\"a\": \}'"),
        ("[" * 100_000, "nested too deep"),
        ('{"a": ' * 100_000, "nested too deep"),
        ("1" * 5000, "malformed JSON, Exceeds the limit"),
        (b'"\xff"', "not UTF-8"),
    ],
)
def test_what_is_no_json_is_told_in_one_line(text: str | bytes, told: str) -> None:
    with pytest.raises(XMCError, match=rf"^a.json:3: .*{told}") as error:
        parse_json(text, "a.json:3")
    assert "\n" not in str(error.value)


def test_a_file_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    path = tmp_path / "xmc.json"
    with pytest.raises(XMCError, match=r"xmc.json cannot be read \(No such file or directory\)"):
        read_json(path)
    for half, told in {
        "": "malformed JSON, Expecting value",
        '{"a": [1, ': "malformed JSON",
        "[1]": r"holds \[1\]",
    }.items():
        path.write_text(half)
        with pytest.raises(XMCError, match=rf"xmc.json: {told}.*; is it complete\? Copy it again, or make it anew$"):
            read_json(path)
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    with pytest.raises(XMCError, match=r"is a Git-LFS pointer .* `git lfs pull`"):
        read_json(path)
    path.write_text('{"a": 1}')
    assert read_json(path) == {"a": 1}
