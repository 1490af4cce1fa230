import io
import json
from collections.abc import Iterator

import pytest

from xmc.data.lines import json_lines
from xmc.errors import XMCError

OBJECTS = [{"text": "a } ]", "labels": ["x"]}, {"text": "b", "more": {"deep": [{}]}}, {}]


def read(content: str) -> list[tuple[int, object]]:
    return list(json_lines(io.BytesIO(content.encode()), "f"))


def test_objects_and_the_lines_that_they_begin_in() -> None:
    assert read(json.dumps(OBJECTS)) == [(1, one) for one in OBJECTS]
    assert read("\n \n" + json.dumps(OBJECTS, indent=1)) == list(zip((4, 10, 18), OBJECTS, strict=True))
    assert read("\ufeff[ {}\n,{},\n\n{}\n] \n\n") == [(1, {}), (2, {}), (4, {})]
    assert read("[]") == read("[\n\n]\n") == []


def test_one_bad_object_is_its_own_fault() -> None:
    twice, good = read('[{"a": 1, "a": 2},\n{"a": 1}]')
    assert "f:1: the key 'a' stands twice" in str(twice[1]) and good == (2, {"a": 1})


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[1, 2]", r"f:1: malformed JSON, expected an array of objects to its end, found '1, 2\]'"),
        ("[{},", "f:1: malformed JSON, expected an array of objects to its end, found ''"),
        ('[{},\n{"a": ]},\n{}]', r"f:2: malformed JSON, Expecting value: ']},"),
        ("[{}]\n[{}]", "f:1: malformed JSON, expected an array"),
        ('[{"a": ' + "[" * 100_000 + "]" * 100_000 + "}]", "f:1: malformed JSON, nested too deep"),
        ('[{"a": ' + "1" * 5000 + "}]", "f:1: malformed JSON, nested too deep or with a number too long"),
    ],
)
def test_malformed_arrays(content: str, told: str) -> None:
    with pytest.raises(XMCError, match=told):
        read(content)


def test_an_array_is_read_object_by_object() -> None:
    def endless() -> Iterator[bytes]:
        yield b"[\n"
        while True:
            yield b'{"a": 1},\n'

    assert next(json_lines(endless(), "f")) == (2, {"a": 1})
