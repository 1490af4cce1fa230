import io
import logging
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix, save_npz

from xmc.data.corpus import Corpus
from xmc.data.pecos import PecosData
from xmc.errors import XMCError

LABELS = 6


def truth(documents: int) -> csr_matrix:
    """Document i has the labels i and 2 i, modulo 6; every seventh has none."""
    rows = [i for i in range(documents) for _ in range(2) if i % 7]
    columns = [c for i in range(documents) if i % 7 for c in (i % LABELS, 2 * i % LABELS)]
    return csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(documents, LABELS))


def texts(documents: int) -> list[str]:
    return [f"text {i} \u2028 of pécos" for i in range(documents)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "toy-6"
    folder.mkdir()
    for split, count in (("trn", 40), ("tst", 15)):
        (folder / f"X.{split}.txt").write_text("".join(line + "\n" for line in texts(count)), encoding="utf-8")
        save_npz(folder / f"Y.{split}.npz", truth(count))
    (folder / "output-items.txt").write_text("".join(f"name of {i}\n" for i in range(LABELS)))
    return folder


@pytest.fixture
def read(tmp_path: Path, root: Path) -> Callable[..., Corpus]:
    return lambda **options: PecosData(root=str(root), cache_dir=str(tmp_path / "cache"), **options).read()


def moved(row: int, offset: int) -> np.ndarray:
    """The offsets, unsigned, with another for one row."""
    indptr = truth(15).indptr.astype(np.uint64)
    indptr[row] = offset
    return indptr


def arrays(root: Path, **changes: np.ndarray) -> None:
    """Write Y.tst.npz anew with these arrays in the place of its own."""
    matrix = truth(15)
    own = {"format": b"csr", "shape": matrix.shape, "data": matrix.data, "indices": matrix.indices}
    np.savez(root / "Y.tst.npz", **(own | {"indptr": matrix.indptr} | changes))


def test_layout(read: Callable[..., Corpus]) -> None:
    corpus = read()
    assert corpus.name == "toy-6"
    assert corpus.label_ids == [str(i) for i in range(LABELS)]
    assert corpus.label_names == [f"name of {i}" for i in range(LABELS)]
    for name, count in (("train", 40), ("test", 15)):
        split = corpus.split(name)
        assert split.ids == [f"{name}-{i}" for i in range(count)]
        assert list(split.texts) == texts(count)
        assert np.array_equal(split.labels.toarray(), truth(count).toarray() > 0)


def test_without_names_and_test(root: Path, read: Callable[..., Corpus]) -> None:
    for name in ("output-items.txt", "X.tst.txt", "Y.tst.npz"):
        (root / name).unlink()
    corpus = read()
    assert corpus.label_names == [str(i) for i in range(LABELS)]
    assert list(corpus.splits) == ["train"]


def test_byte_order_mark_and_windows_line_ends_change_nothing(root: Path, read: Callable[..., Corpus]) -> None:
    before = read().fingerprint
    for name in ("X.tst.txt", "output-items.txt"):
        content = (root / name).read_bytes()
        (root / name).write_bytes(b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n"))
    assert read().fingerprint == before


def test_stored_zeros_are_no_labels(root: Path, read: Callable[..., Corpus]) -> None:
    before = read().split("test").labels
    data = truth(15).data
    data[3] = 0
    arrays(root, data=data)
    assert read().split("test").labels.nnz == before.nnz - 1


@pytest.mark.parametrize("on_error", ["error", "skip"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": b"csc"}, r"Y.tst.npz: format b'csc', .*expected a CSR matrix as scipy.sparse.save_npz writes it"),
        (
            {"indices": np.array([{"a": 1}], dtype=object)},
            r"Y.tst.npz: cannot be read \(Object arrays cannot be loaded",
        ),
        ({"indptr": np.arange(16)}, r"Y.tst.npz: its offsets do not fit its 15 rows and \d+ entries"),
        ({"indptr": truth(15).indptr[:-1]}, r"Y.tst.npz: its offsets do not fit its 15 rows"),
        ({"indices": truth(15).indices.astype(float)}, r"Y.tst.npz: its offsets do not fit its 15 rows"),
        ({"indices": truth(15).indices.reshape(2, -1)}, r"Y.tst.npz: cannot be read \(indices has the shape \(2, 11\)"),
        ({"indptr": np.array(5)}, r"Y.tst.npz: cannot be read \(indptr has the shape \(\)"),
        ({"indptr": truth(15).indptr.astype(float)}, r"Y.tst.npz: its offsets do not fit its 15 rows"),
        ({"indptr": moved(3, 1).astype(np.uint32)}, r"Y.tst.npz: its offsets do not fit its 15 rows"),
        ({"indptr": moved(3, 2**64 - 1)}, r"Y.tst.npz: its offsets do not fit its 15 rows"),
        ({"indptr": moved(15, 2**40)}, r"Y.tst.npz: its offsets do not fit its 15 rows"),
        ({"indptr": moved(0, 1)}, r"Y.tst.npz: its offsets do not fit its 15 rows"),
        ({"data": truth(15).data.astype("S3")}, r"Y.tst.npz: its offsets do not fit its 15 rows"),
        ({"data": truth(15).data * np.nan}, r"Y.tst.npz: row 1 has an entry that is no finite number"),
        ({"shape": np.array([15, 2**31])}, r"Y.tst.npz: 2147483648 columns; at most 100000000 labels are taken"),
        ({"shape": np.array([15.0, 6.0])}, r"Y.tst.npz: format b'csr', shape None; expected a CSR matrix"),
        ({"shape": np.array([-15, 6])}, r"Y.tst.npz: format b'csr', shape \[-15, 6\]; expected a CSR matrix"),
        ({"shape": np.array([10**12, 6])}, r"Y.tst.npz has 1000000000000 rows, more than .*X.tst.txt has bytes"),
        ({"format": np.array(["csr"])}, r"Y.tst.npz: cannot be read \(format has the shape \(1,\)"),
        ({"format": np.array(b"c" * 10**6)}, r"Y.tst.npz: cannot be read \(format has the shape \(\) and the type"),
        ({"shape": np.array([15, 7])}, r"Y.trn.npz has 6 columns, .*Y.tst.npz has 7 columns; both must have a column"),
    ],
)
def test_bad_matrix(
    root: Path, read: Callable[..., Corpus], changes: dict[str, np.ndarray], message: str, on_error: str
) -> None:
    arrays(root, **changes)
    with pytest.raises(XMCError, match=message):
        read(on_error=on_error)


def test_damaged_matrix(root: Path, read: Callable[..., Corpus]) -> None:
    content = (root / "Y.tst.npz").read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"no matrix"):
        (root / "Y.tst.npz").write_bytes(damaged)
        with pytest.raises(XMCError, match=r"Y.tst.npz: cannot be read .*Is it complete\?"):
            read()


def test_unsigned_offsets_are_read_as_they_are(root: Path, read: Callable[..., Corpus]) -> None:
    before = read().fingerprint
    arrays(root, indptr=truth(15).indptr.astype(np.uint32), indices=truth(15).indices.astype(">u8"))
    assert read().fingerprint == before


def member(content: bytes, **info: int) -> bytes:
    """Of a zip file with one member `shape.npy`, whose headers say so."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("format.npy", content)
    raw = bytearray(out.getvalue())
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = raw.index(signature) + at
        raw[start : start + 4] = struct.pack("<HH", info.get("flags", 0), info.get("method", 0))
    return bytes(raw)


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (member(b"x", flags=1), "is encrypted"),
        (member(b"x", method=77), "compression"),
        (member(b"x", method=8), "Bad CRC-32"),
        (member(b"x"), "magic"),
        (member(b"\x93NUMPY\x01\x00\x10\x00" + b"(" * 16), "multi-line statement"),
        (member(b"\x93NUMPY\x01\x00\xff\xff" + b" " * 10), "EOF"),
    ],
)
def test_odd_archives(root: Path, read: Callable[..., Corpus], raw: bytes, told: str) -> None:
    (root / "Y.tst.npz").write_bytes(raw)
    with pytest.raises(
        XMCError, match=rf"Y.tst.npz: cannot be read \((?s:.*){told}(?s:.*)\); expected .* Is it complete\?"
    ):
        read()


def test_an_archive_that_unpacks_to_more_than_memory_is_not_unpacked(root: Path, read: Callable[..., Corpus]) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<i8", "fortran_order": False, "shape": (10**13,)})
    with zipfile.ZipFile(root / "Y.tst.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in (("format", np.array(b"csr")), ("shape", np.array([15, 6]))):
            with archive.open(f"{name}.npy", "w") as out:
                np.save(out, value)
        for name in ("indptr", "indices", "data"):
            archive.writestr(f"{name}.npy", header.getvalue() + bytes(10**6))
    with pytest.raises(XMCError, match=r"Y.tst.npz: its offsets do not fit its 15 rows and 10000000000000 entries"):
        read()


@pytest.mark.parametrize("on_error", ["error", "skip"])
@pytest.mark.parametrize("lines", [14, 16, 40])
def test_lines_and_rows_that_do_not_match(root: Path, read: Callable[..., Corpus], lines: int, on_error: str) -> None:
    (root / "X.tst.txt").write_text("a text\n" * lines)
    with pytest.raises(XMCError, match=rf"X.tst.txt has {lines} lines, .*Y.tst.npz has 15; line i of both must be"):
        read(on_error=on_error)


@pytest.mark.parametrize(("names", "count"), [("a\nb\n", 2), ("", 0), ("a\n" * 7, 7)])
def test_names_that_do_not_match(root: Path, read: Callable[..., Corpus], names: str, count: int) -> None:
    (root / "output-items.txt").write_text(names)
    with pytest.raises(XMCError, match=rf"output-items.txt has {count} lines, .*Y.trn.npz has 6 columns; line i must"):
        read()


@pytest.mark.parametrize("index", [6, -1, 2**31 - 1])
@pytest.mark.parametrize("row", [1, 13])
def test_label_index_out_of_range(root: Path, read: Callable[..., Corpus], index: int, row: int) -> None:
    matrix = truth(15)
    matrix.indices[matrix.indptr[row]] = index
    arrays(root, indices=matrix.indices)
    message = rf"X.tst.txt:{row + 1}: row {row} of .*Y.tst.npz has the label index {index}; it has 6 columns, 0 to 5"
    with pytest.raises(XMCError, match=message):
        read()


def test_skipped_documents_are_told_and_shift_nothing(
    root: Path, read: Callable[..., Corpus], caplog: pytest.LogCaptureFixture
) -> None:
    whole = read().split("test")
    lines = (root / "X.tst.txt").read_bytes().splitlines()
    lines[4] = b"\xff\xfe"
    (root / "X.tst.txt").write_bytes(b"\n".join(lines))
    indices = truth(15).indices.copy()
    indices[0] = LABELS
    arrays(root, indices=indices)
    with caplog.at_level(logging.WARNING):
        test = read(on_error="skip").split("test")
    assert "X.tst.txt: skipped 2 of 15 documents; the first: " in caplog.text
    kept = [0, 2, 3, *range(5, 15)]
    assert test.fingerprint == whole.select(kept).fingerprint
    with pytest.raises(XMCError, match=r"X.tst.txt:2: row 1 of"):
        read()


def test_empty_texts(root: Path, read: Callable[..., Corpus], caplog: pytest.LogCaptureFixture) -> None:
    (root / "X.tst.txt").write_text("text\n" * 14 + " \n")
    with caplog.at_level(logging.WARNING):
        assert read().split("test").texts[14] == ""
    assert "X.tst.txt:15: empty text, kept (1 of 15 documents)" in caplog.text
    (root / "X.tst.txt").write_text("\n" * 15)
    with pytest.raises(XMCError, match=r"X.tst.txt:1: empty text, like all 15 documents"):
        read()


@pytest.mark.parametrize("missing", ["X.trn.txt", "Y.trn.npz", "Y.tst.npz"])
def test_missing_file(root: Path, read: Callable[..., Corpus], missing: str) -> None:
    (root / missing).unlink()
    with pytest.raises(XMCError, match=rf"no file .*{missing}.*toy-6 has: "):
        read()
