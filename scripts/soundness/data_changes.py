"""Ways to change a data file on purpose, and what must come of it."""

import csv
import gzip
import json
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.sparse import csc_matrix, save_npz

from .formats import label_matrix
from .stage import SPLITS


class Expected(Enum):
    """What must come of a change, beside no traceback."""

    ANY = auto()
    SAME = auto()
    REFUSED = auto()


@dataclass(frozen=True)
class Directed:
    format: str
    name: str
    apply: Callable[[Path], None]
    expected: Expected = Expected.ANY


DOCUMENTS = SPLITS["train"]
DEEP = "[" * 100_000 + "]" * 100_000


def record(name: str, expected: Expected, change: Callable[[dict[str, Any]], Any]) -> Directed:
    """The fourth document of train.jsonl changed, as a value or as text."""

    def apply(root: Path) -> None:
        lines = [json.dumps(document) for document in DOCUMENTS]
        changed = change(dict(DOCUMENTS[3]))
        lines[3] = changed if isinstance(changed, str) else json.dumps(changed)
        (root / "train.jsonl").write_text("\n".join(lines) + "\n")

    return Directed("jsonl", name, apply, expected)


def text_of(
    format_: str, file: str, name: str, change: Callable[[str], str], expected: Expected = Expected.ANY
) -> Directed:
    """A file changed as text; surrogate escapes become bytes that are not UTF-8."""

    def apply(root: Path) -> None:
        path = root / file
        opened = gzip.open if file.endswith(".gz") else open
        with opened(path, "rb") as stream:
            text = stream.read().decode()
        with opened(path, "wb") as out:
            out.write(change(text).encode(errors="surrogateescape"))

    return Directed(format_, name, apply, expected)


def second_line(change: Callable[[str], str]) -> Callable[[str], str]:
    def apply(text: str) -> str:
        lines = text.splitlines(keepends=True)
        lines[1] = change(lines[1])
        return "".join(lines)

    return apply


def npz(name: str, expected: Expected, **changed: Any) -> Directed:
    """Y.trn.npz with other arrays, or without those that are None."""

    def apply(root: Path) -> None:
        matrix = label_matrix("train")
        arrays: dict[str, Any] = {
            "indices": matrix.indices,
            "indptr": matrix.indptr,
            "data": matrix.data,
            "shape": np.array(matrix.shape),
            "format": np.array(b"csr"),
        }
        for key, value in changed.items():
            arrays[key] = value(matrix) if callable(value) else value
        np.savez(root / "Y.trn.npz", **{key: value for key, value in arrays.items() if value is not None})

    return Directed("pecos", name, apply, expected)


def zip_field(offset: int, value: int) -> Callable[[Path], None]:
    """Two bytes of every header of Y.trn.npz, local and central: the flags are at 6 and 8, the method at 8 and 10."""

    def apply(root: Path) -> None:
        path = root / "Y.trn.npz"
        content = bytearray(path.read_bytes())
        for signature, at in ((b"PK\x03\x04", offset), (b"PK\x01\x02", offset + 2)):
            place = content.find(signature)
            while place >= 0:
                content[place + at : place + at + 2] = value.to_bytes(2, "little")
                place = content.find(signature, place + 4)
        path.write_bytes(content)

    return apply


def table_of(name: str, expected: Expected, change: Callable[[pa.Table], pa.Table]) -> Directed:
    def apply(root: Path) -> None:
        pq.write_table(change(pa.Table.from_pylist(DOCUMENTS)), root / "train.parquet")

    return Directed("parquet", name, apply, expected)


def column(name: str, values: Callable[[list[Any]], pa.Array]) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        place = table.column_names.index(name) if name in table.column_names else None
        column = values(table[name].to_pylist() if place is not None else [None] * len(table))
        return table.append_column(name, column) if place is None else table.set_column(place, name, column)

    return change


def not_utf8(values: list[str]) -> pa.Array:
    raw = pa.array([b"\xff\xfe\xfd", *(value.encode() for value in values[1:])], pa.binary())
    return pa.StringArray.from_buffers(len(raw), raw.buffers()[1], raw.buffers()[2])


def pickled(root: Path) -> None:
    """An array of objects that would make a file if it were unpickled."""

    class Canary:
        def __reduce__(self) -> tuple[Any, ...]:
            return (open, (str(root / "executed"), "w"))

    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    header += b" " * (63 - (len(header) + 10) % 64) + b"\n"
    array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + pickle.dumps([Canary()])
    with zipfile.ZipFile(root / "Y.trn.npz", "w") as archive:
        for name in ("indices", "indptr", "data", "shape", "format"):
            archive.writestr(f"{name}.npy", array)


def quoted_with_bom(separator: str, kind: str) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        rows = [[doc["id"], doc["text"], ";".join(doc["labels"])] for doc in DOCUMENTS]
        with open(root / f"train.{kind}", "w", encoding="utf-8-sig", newline="") as out:
            csv.writer(out, delimiter=separator, quoting=csv.QUOTE_ALL).writerows([["id", "text", "labels"], *rows])

    return apply


def falling(indptr: np.ndarray) -> np.ndarray:
    changed = indptr.copy()
    changed[1:3] = changed[2:0:-1]
    return changed


def appended(more: bytes) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        with open(root / "trn.json.gz", "ab") as out:
            out.write(more)

    return apply


def in_two_parts(root: Path) -> None:
    content = gzip.decompress((root / "trn.json.gz").read_bytes())
    (root / "trn.json.gz").write_bytes(gzip.compress(content[:1000]) + gzip.compress(content[1000:]))


def as_csc(root: Path) -> None:
    save_npz(root / "Y.trn.npz", csc_matrix(label_matrix("train")))


def header_with(text: str, place: int, value: int) -> str:
    first, _, rest = text.partition("\n")
    fields = first.split()
    fields[place] = str(value)
    return " ".join(fields) + "\n" + rest


def with_feature(entry: str) -> Callable[[str], str]:
    return second_line(lambda line: f"{line.strip()} {entry}\n")


def with_label(entry: str) -> Callable[[str], str]:
    return second_line(lambda line: f"{entry} {line.partition(' ')[2]}")


def with_last(line: str) -> Callable[[str], str]:
    return lambda text: f"{text}{line}\n"


def target_of(value: str) -> Callable[[str], str]:
    """`target_ind` of the second document."""

    def change(line: str) -> str:
        return json.dumps(json.loads(line) | {"target_ind": "@", "target_rel": [1.0]}).replace('"@"', value) + "\n"

    return second_line(change)
