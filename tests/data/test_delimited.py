import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xmc.data.delimited import Dialect, delimited
from xmc.data.documents import read_documents
from xmc.data.sources import Sources
from xmc.data.table import JsonlData
from xmc.errors import XMCError

BOM = b"\xef\xbb\xbf"


def read(content: str | bytes, *, tabs: bool = False, **dialect: str) -> list[dict[str, str] | XMCError]:
    raw = content.encode() if isinstance(content, str) else content
    return [row for _, row in delimited(io.BytesIO(raw), "t", tabs=tabs, dialect=Dialect(**dialect))]


@pytest.mark.parametrize("tabs", [False, True])
def test_the_byte_order_mark_belongs_to_the_file(tabs: bool) -> None:
    content = '"id","text"\r\n"1","a ""b"""\r\n'.replace(",", "\t" if tabs else ",")
    assert read(BOM + content.encode(), tabs=tabs) == [{"id": "1", "text": 'a "b"'}]


def test_prediction_names_documents_by_the_quoted_id_column(tmp_path: Path) -> None:
    path = tmp_path / "docs.csv"
    path.write_bytes(BOM + b'"id","text"\n"b1","Bees"\n')
    assert list(read_documents(Sources([str(path)]), ["text"])) == [("b1", "Bees")]


@pytest.mark.parametrize("tabs", [False, True])
def test_spaces_around_the_names_of_columns(tabs: bool) -> None:
    content = " id, text ,labels \n1,x,a b\n".replace(",", "\t" if tabs else ",")
    assert read(content, tabs=tabs) == [{"id": "1", "text": "x", "labels": "a b"}]


@pytest.mark.parametrize("tabs", [False, True])
def test_a_column_that_stands_twice(tabs: bool) -> None:
    content = "id,text,labels,labels\n1,x,a,b\n".replace(",", "\t" if tabs else ",")
    with pytest.raises(XMCError, match=r"t:1: the column 'labels' stands twice among id, labels, labels, text; rename"):
        read(content, tabs=tabs)
    assert read("id,text,,\n1,x,,\n") == [{"id": "1", "text": "x", "": ""}], "columns that a spreadsheet left empty"


def test_a_column_of_parquet_that_stands_twice(tmp_path: Path) -> None:
    table = pa.table([["1"], ["x"], [["a"]], [["b"]]], names=["id", "text", "labels", "labels"])
    pq.write_table(table, tmp_path / "train.parquet")
    with pytest.raises(XMCError, match=r"train.parquet: the column 'labels' stands twice"):
        JsonlData(root=str(tmp_path), cache_dir=str(tmp_path)).read()


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ('"alps, general"', "alps, general"),
        ('"say ""hi"", you"', 'say "hi", you'),
        ('"a\tb"', "a\tb"),
        ('""', ""),
        ('a "quoted', 'a "quoted'),
        ('"Bees" and "Wasps"', '"Bees" and "Wasps"'),
        ('"Bees', '"Bees'),
        ('Bees"', 'Bees"'),
        ('"', '"'),
        ('"""', '"""'),
        ('5" and 6"', '5" and 6"'),
    ],
)
def test_tsv_takes_off_the_quotes_of_a_spreadsheet_alone(field: str, text: str) -> None:
    assert read(f"id\ttext\tlabels\n1\t{field}\tx\n", tabs=True) == [{"id": "1", "text": text, "labels": "x"}]


def test_tsv_tells_quotes_across_fields_by_the_number_of_columns() -> None:
    literal = 'id\ttext\tlabels\n1\t"Bees\ta "b"\n2\t"Bees\t"x""\n3\t"a"\t"b"\n'
    assert [row["text"] for row in read(literal, tabs=True) if isinstance(row, dict)] == ['"Bees', '"Bees', "a"]
    assert read('text\tlabels\n"Bees\tx"\n', tabs=True) == [{"text": '"Bees', "labels": 'x"'}]


def test_a_text_with_line_breaks_in_tsv() -> None:
    first, second = read('text\tlabels\n"Bees\nof the alps"\tx\n', tabs=True)
    assert "t:2: 1 fields; the header has 2: text, labels. A text with line breaks in quotes is read from CSV" in str(
        first
    )
    assert second == {"text": 'of the alps"', "labels": "x"}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('id,text\n1,"x\n2,y\n', r"t:2: malformed CSV \(a quoted field begins and never ends\); write a quote"),
        ('id,text\n1,"x"y\n', r"t:2: malformed CSV \(',' expected after '\"'\); write a quote"),
        ("id,text\n1,x\ry\n", r"t:2: malformed CSV \(a carriage return that ends no line\)"),
        ("id,text\n1,ä\n".encode() + b"2,\xff\n", r"t:3: not in utf-8, as the lines before it are .*convert the file"),
        ("long " * 50 + "text,a;b\nx,y\n", r"t:1: 'long long .* names no column; write a header there"),
        (b"id,text\n1,\xff\x01\n", r"t:2: neither UTF-8 nor other text \(.*\); is it the right file\?"),
    ],
)
def test_malformed_csv(content: str | bytes, told: str) -> None:
    with pytest.raises(XMCError, match=told):
        read(content)


@pytest.mark.parametrize("tabs", [False, True])
def test_line_ends_of_old_macs(tabs: bool) -> None:
    content = 'id,text\r1,"a, b"\r2,c\r'
    assert read(content.replace(",", "\t") if tabs else content, tabs=tabs) == [
        *({"id": "1", "text": "a\t b" if tabs else "a, b"}, {"id": "2", "text": "c"})
    ]
    assert read('text\r"a\rb"\r') == [{"text": "a\rb"}]


@pytest.mark.parametrize("tabs", [False, True])
def test_nul_bytes(tabs: bool) -> None:
    bad, good = read("id,text\n1,x\0\n2,y\n".replace(",", "\t" if tabs else ","), tabs=tabs)
    assert str(bad) == "t:2: a NUL byte; is the file damaged?"
    assert good == {"id": "2", "text": "y"}


@pytest.mark.parametrize("tabs", [False, True])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_header_tells_the_delimiter(delimiter: str, tabs: bool) -> None:
    rows = [("id", "text", "labels"), ("1", "x, y; z", "a|b"), ("2", "two\nlines", "a")]
    rows = rows[:2] if tabs and delimiter == "\t" else rows
    content = io.StringIO()
    csv.writer(content, delimiter=delimiter).writerows(rows)
    expected = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    assert read(content.getvalue(), tabs=tabs) == expected
    assert read(f"sep={delimiter}\r\n{content.getvalue()}", tabs=tabs) == expected, "as Excel has it"


def test_a_delimiter_that_is_set() -> None:
    content = "id,text:labels\n1,x:a\n"
    assert read(content) == [{"id": "1", "text:labels": "x:a"}]
    assert read(content, delimiter=":") == [{"id,text": "1,x", "labels": "a"}]
    assert read("text\nx; y\n") == [{"text": "x; y"}], "a single column"


def test_quotes() -> None:
    assert read("'id','text'\n'1','a, ''b'' c'\n") == [{"id": "1", "text": "a, 'b' c"}]
    escaped = '"id","text"\n"1","say \\"hi\\", you"\n"2","x"\n'
    assert read(escaped) == [{"id": "1", "text": 'say "hi", you'}, {"id": "2", "text": "x"}]
    assert read('id,text\n1,"C:\\"\n2,"x"\n')[0] == {"id": "1", "text": "C:\\"}, "no escape where doubled quotes fit"
    assert read('id,text\n1,"Bees" and wasps\n', quote="none") == [{"id": "1", "text": '"Bees" and wasps'}]
    assert read("id,text\n1,*a, b*\n", quote="*") == [{"id": "1", "text": "a, b"}]


def test_a_field_longer_than_the_default_of_python() -> None:
    assert read(f"text\n{'x' * 300_000}\n") == [{"text": "x" * 300_000}]


def test_rows_are_read_one_by_one() -> None:
    def endless() -> Iterator[bytes]:
        yield b"text\tlabels\n"
        while True:
            yield b'"a, b"\tx\n'

    assert next(delimited(endless(), "t", tabs=True)) == (2, {"text": "a, b", "labels": "x"})
