"""Changes of data files that a reader must understand or refuse; each was, or may be, met in the wild."""

import json

import numpy as np
import pyarrow as pa

from .data_changes import (
    DEEP,
    DOCUMENTS,
    Directed,
    Expected,
    appended,
    as_csc,
    column,
    falling,
    header_with,
    in_two_parts,
    not_utf8,
    npz,
    pickled,
    quoted_with_bom,
    record,
    second_line,
    table_of,
    target_of,
    text_of,
    with_feature,
    with_label,
    with_last,
    zip_field,
)

ANY, SAME, REFUSED = Expected.ANY, Expected.SAME, Expected.REFUSED
_JSONL = [
    record("labels nested deep", REFUSED, lambda d: json.dumps(d | {"labels": "@"}).replace('"@"', DEEP)),
    record("an unused field nested deep", ANY, lambda d: json.dumps(d | {"more": "@"}).replace('"@"', DEEP)),
    record("an integer of 5,000 digits", ANY, lambda d: json.dumps(d | {"more": "@"}).replace('"@"', "9" * 5000)),
    record("id null", REFUSED, lambda d: d | {"id": None}),
    record("id a list", REFUSED, lambda d: d | {"id": ["a"]}),
    record("id of another document", REFUSED, lambda d: d | {"id": "train0"}),
    record("text null", REFUSED, lambda d: d | {"text": None}),
    record("text a list", ANY, lambda d: d | {"text": ["a", "b"]}),
    record("text an object", REFUSED, lambda d: d | {"text": {"a": 1}}),
    record("a text missing", REFUSED, lambda d: {k: v for k, v in d.items() if k != "text"}),
    record("labels an object", REFUSED, lambda d: d | {"labels": {"topic1": 1}}),
    record("labels with null", REFUSED, lambda d: d | {"labels": ["topic1", None]}),
    record("labels with a list", REFUSED, lambda d: d | {"labels": [["topic1"]]}),
    record("labels with an empty one", REFUSED, lambda d: d | {"labels": ["topic1", ""]}),
    record("an unknown label", REFUSED, lambda d: d | {"labels": ["topicX"]}),
    record("labels twice the same", ANY, lambda d: d | {"labels": ["topic1", "topic1"]}),
    record("a key twice", REFUSED, lambda d: json.dumps(d)[:-1] + ', "labels": []}'),
    record("half a surrogate", ANY, lambda d: d | {"text": "a \ud800 b"}),
    record("NaN", ANY, lambda d: json.dumps(d | {"more": float("nan")})),
    record("two objects in a line", REFUSED, lambda d: json.dumps(d) + json.dumps(d)),
    record("an array in a line", REFUSED, lambda d: "[1]"),
    record("blank lines", SAME, lambda d: "\n\n" + json.dumps(d) + "\n\n"),
    text_of("jsonl", "train.jsonl", "byte order mark", lambda text: "\ufeff" + text, SAME),
    text_of("jsonl", "train.jsonl", "line ends of Windows", lambda text: text.replace("\n", "\r\n"), SAME),
    text_of("jsonl", "train.jsonl", "not UTF-8", second_line(lambda line: line.replace("word", "w\udcff", 1)), REFUSED),
    text_of("jsonl", "labels.tsv", "a label twice", lambda text: text + "topic1\tagain\n", REFUSED),
    text_of("jsonl", "labels.tsv", "a label missing", lambda text: text.replace("topic1\tThe topic 1\n", ""), REFUSED),
    text_of("jsonl", "labels.tsv", "byte order mark", lambda text: "\ufeff" + text, SAME),
    text_of("jsonl", "labels.tsv", "no header", lambda text: text.partition("\n")[2], REFUSED),
]
_TABLES = [
    Directed("csv", "byte order mark, every field quoted", quoted_with_bom(",", "csv"), SAME),
    Directed("tsv", "byte order mark, every field quoted", quoted_with_bom("\t", "tsv"), SAME),
    text_of(
        "csv", "train.csv", "a column twice", lambda text: text.replace("id,text,labels", "labels,text,labels"), REFUSED
    ),
    text_of("csv", "train.csv", "a row too long", second_line(lambda line: line.strip() + ",more\n"), REFUSED),
    text_of("csv", "train.csv", "a row too short", second_line(lambda line: "a,b\n"), REFUSED),
    text_of("csv", "train.csv", "a quote left open", second_line(lambda line: line.replace(",", ',"', 1)), REFUSED),
    text_of("csv", "train.csv", "NUL", second_line(lambda line: line.replace("word", "w\0", 1))),
    text_of(
        "csv",
        "train.csv",
        "a field of 300,000 letters",
        second_line(lambda line: line.replace("word", "w" * 300_000, 1)),
    ),
    text_of("csv", "train.csv", "a header alone", lambda text: text.partition("\n")[0] + "\n", REFUSED),
    text_of("csv", "train.csv", "no header", lambda text: text.partition("\n")[2], REFUSED),
    text_of("csv", "train.csv", "an empty name", lambda text: text.replace("id,text,labels", "id,,labels"), REFUSED),
    table_of("text not UTF-8", REFUSED, column("text", not_utf8)),
    table_of(
        "ids of dates out of range",
        REFUSED,
        column("id", lambda v: pa.array(range(2**62, 2**62 + len(v)), pa.timestamp("us"))),
    ),
    table_of("large strings", SAME, column("text", lambda v: pa.array(v, pa.large_string()))),
    table_of("texts in a dictionary", SAME, column("text", lambda v: pa.array(v).dictionary_encode())),
    table_of("large lists", SAME, column("labels", lambda v: pa.array(v, pa.large_list(pa.string())))),
    table_of("lists of lists", REFUSED, column("labels", lambda v: pa.array([[labels] for labels in v]))),
    table_of("labels of structs", REFUSED, column("labels", lambda v: pa.array([{"a": 1}] * len(v)))),
    table_of("no rows", REFUSED, lambda table: table.slice(0, 0)),
    table_of("a column twice", REFUSED, lambda table: table.append_column("labels", table["labels"])),
    table_of("ids of floats", ANY, column("id", lambda v: pa.array([i + 0.5 for i in range(len(v))]))),
    table_of(
        "ids of bytes",
        ANY,
        column("id", lambda v: pa.array([f"{i}\udcff".encode(errors="surrogateescape") for i in range(len(v))])),
    ),
    table_of("no labels", REFUSED, lambda table: table.drop_columns(["labels"])),
    text_of("annif", "train.tsv", "a stray tab", second_line(lambda line: line.replace(" ", "\t", 1)), REFUSED),
    text_of(
        "annif", "train.tsv", "an unknown URI", second_line(lambda line: line.strip() + " <http://t/none>\n"), REFUSED
    ),
    text_of("annif", "vocabulary.tsv", "a URI twice", lambda text: text + text.partition("\n")[0] + "\n", REFUSED),
    text_of("annif", "vocabulary.tsv", "no tab", lambda text: text.replace("\t", " ", 1), REFUSED),
]
_ROWS = [
    text_of("bow", "train.txt", "2^31 labels", lambda text: header_with(text, 2, 2**31), REFUSED),
    text_of(
        "bow",
        "train.txt",
        "2^31 - 1 labels",
        lambda text: header_with(text, 2, 2**31 - 1),
        REFUSED,
    ),
    text_of("bow", "train.txt", "2^40 features", lambda text: header_with(text, 1, 2**40), REFUSED),
    text_of("bow", "train.txt", "10^30 rows", lambda text: header_with(text, 0, 10**30), REFUSED),
    text_of("bow", "train.txt", "a row more than told", lambda text: header_with(text, 0, len(DOCUMENTS) - 1), REFUSED),
    text_of("bow", "train.txt", "a row less than told", lambda text: header_with(text, 0, len(DOCUMENTS) + 1), REFUSED),
    *(
        text_of(
            "bow",
            "train.txt",
            f"feature {entry}",
            with_feature(entry),
            REFUSED,
        )
        for entry in (
            "1_0:1",
            "-1:1",
            "99999:1",
            "3:nan",
            "3:inf",
            "3:1e999",
            "3:1_0",
            "\u0663:1",
            "3",
            "3:",
            ":1",
            "3:1:1",
        )
    ),
    *(
        text_of(
            "bow",
            "train.txt",
            f"label {entry}",
            with_label(entry),
            REFUSED,
        )
        for entry in ("1_0", "-1", "99", "1,1", "1,,2", "\u0663", "1.0", "9" * 5000)
    ),
]
_REPOSITORY = [
    *(
        text_of("repository", "trn.json.gz", f"target_ind {value:.20}", target_of(value), REFUSED)
        for value in (
            "[2147483648]",
            "[-1]",
            "[1.0]",
            "[true]",
            '["1"]',
            "1",
            "[[1]]",
            "[null]",
            "null",
            "[" + "9" * 5001 + "]",
        )
    ),
    Directed("repository", "bytes behind the archive", appended(b"garbage behind the end"), REFUSED),
    Directed("repository", "an archive of two parts", in_two_parts, SAME),
    *(
        text_of("repository", "tst_filter_labels.txt", f"a filter of {line}", with_last(line), REFUSED)
        for line in ("-1 0", "0 -1", "99 0", "0 99", "0.0 1", "0 1 2", "0", "1_0 1", f"{2**64} 0")
    ),
    text_of("repository", "tst_filter_labels.txt", "an empty filter", lambda text: ""),
    text_of("lightxml", "train_texts.txt", "a line less", lambda text: text.partition("\n")[2], REFUSED),
    text_of("lightxml", "train_labels.txt", "a line less", lambda text: text.partition("\n")[2], REFUSED),
    text_of("lightxml", "train_labels.txt", "not UTF-8", second_line(lambda line: "\udcff\n"), REFUSED),
]
_PECOS = [
    npz("offsets of floats", REFUSED, indptr=lambda m: m.indptr.astype(float)),
    npz("offsets in two dimensions", REFUSED, indptr=lambda m: m.indptr[None]),
    npz("offsets without a dimension", REFUSED, indptr=np.int64(0)),
    npz("offsets without a sign", SAME, indptr=lambda m: m.indptr.astype(np.uint32)),
    npz("offsets without a sign, falling", REFUSED, indptr=lambda m: falling(m.indptr).astype(np.uint32)),
    npz("offsets that fall", REFUSED, indptr=lambda m: falling(m.indptr)),
    npz("offsets beyond the end", REFUSED, indptr=lambda m: m.indptr * 2),
    npz("columns of int64", SAME, indices=lambda m: m.indices.astype(np.int64)),
    npz("columns of uint8", SAME, indices=lambda m: m.indices.astype(np.uint8)),
    npz("columns below 0", REFUSED, indices=lambda m: m.indices - 1),
    npz("columns beyond the last", REFUSED, indices=lambda m: m.indices + 1),
    npz("columns of floats", REFUSED, indices=lambda m: m.indices.astype(float)),
    npz("columns in two dimensions", REFUSED, indices=lambda m: m.indices[:, None]),
    npz("values of booleans", SAME, data=lambda m: m.data.astype(bool)),
    npz("values of int8", SAME, data=lambda m: m.data.astype(np.int8)),
    npz("values NaN", ANY, data=lambda m: m.data * np.nan),
    npz("values of complex numbers", ANY, data=lambda m: m.data * 1j),
    npz("values of text", REFUSED, data=lambda m: np.full(len(m.data), "one")),
    npz("fewer values", REFUSED, data=lambda m: m.data[:-1]),
    npz("no values", REFUSED, data=None),
    npz("a shape of floats", REFUSED, shape=lambda m: np.array(m.shape, float)),
    npz("a shape of three", REFUSED, shape=np.array([80, 6, 1])),
    npz("a shape of 2^62 columns", REFUSED, shape=np.array([80, 2**62])),
    npz("a shape below 0", REFUSED, shape=np.array([80, -6])),
    npz("another format", REFUSED, format=np.array(b"coo")),
    npz("a format of numbers", REFUSED, format=np.array(7)),
    npz("two formats", REFUSED, format=np.array([b"csr", b"csr"])),
    Directed("pecos", "CSC", as_csc, REFUSED),
    Directed("pecos", "objects to unpickle", pickled, REFUSED),
    Directed("pecos", "encrypted", zip_field(6, 1), REFUSED),
    Directed("pecos", "an unknown compression", zip_field(8, 99), REFUSED),
    text_of("pecos", "output-items.txt", "a name less", lambda text: text.partition("\n")[2], REFUSED),
    text_of("pecos", "X.trn.txt", "a document less", lambda text: text.partition("\n")[2], REFUSED),
]
DIRECTED = [*_JSONL, *_TABLES, *_ROWS, *_REPOSITORY, *_PECOS]
