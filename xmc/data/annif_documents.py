"""Documents of Annif's corpora: TSV, CSV, JSON lines, and folders of texts with their subjects beside them or of JSON.

A subject is a URI or, where it is told by its name, `NAMED` and the name: which URI that is, the vocabulary says.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from xmc.data import files as inputs
from xmc.data.documents import Record, id_of, records, usable
from xmc.data.files import format_of
from xmc.data.formats import Document
from xmc.data.labels import URI, bare_uri
from xmc.data.lines import attempt, json_object, numbered_lines, text_line
from xmc.errors import XMCError

FORMATS = ("tsv", "csv", "jsonl")
NAMED = "\t"
"""Begins a subject that is told by its name; no URI and no name has it."""

_IN_FOLDERS = ("txt", "json")
_SUBJECTS = ("key", "tsv")  # what the latter says holds where both are
_SAMPLE = 1000


def is_folder(path: Path) -> bool:
    """Whether documents lie in the folder, one a file."""
    return path.is_dir() and any(format_of(inside, _IN_FOLDERS) for inside in path.iterdir())


def files_of(folder: Path) -> tuple[Path, ...]:
    """Documents in the order of Annif, texts before JSON; behind them what tells the subjects of texts."""
    kinds = (*_IN_FOLDERS, *_SUBJECTS)
    found = [(kinds.index(kind), path) for path in folder.iterdir() if (kind := format_of(path, kinds))]
    return tuple(path for _, path in sorted(found) if path.is_file())


def of_file(files: Sequence[Path], split: str, id_field: str | None) -> Iterator[Document | XMCError]:
    """Of a file with a document a line or row. id_field: of the id, where there is one; None: they are numbered."""
    (path,) = files
    format_ = format_of(path)
    if format_ not in FORMATS:
        raise XMCError(
            f"{path}: format not known; expected a name in .{', .'.join(FORMATS)}, plain or .gz, or a folder"
        )
    if format_ == "jsonl":
        for row, (line, given) in enumerate(records(path)):
            yield attempt(_of_json, line, f"{split}-{row}", f"{path}:{line}", given, id_field)
        return
    read = _csv_records if format_ == "csv" else _tsv_records
    checked = _mostly_uris(record for _, _, record in islice(read(path), _SAMPLE))

    def document(row: int, line: int, given: Record | XMCError) -> Document:
        where, record = f"{path}:{line}", usable(given)
        text, subjects = _text(record, where), record["subject_uris"].split()
        if checked and (word := next((subject for subject in subjects if not URI.fullmatch(subject)), None)):
            raise XMCError(
                f"{where}: the subject {word!r:.60} is no URI, and others of the file are; is there a tab too many?"
            )
        return line, _id(record, id_field, where) or f"{split}-{row}", text, list(map(bare_uri, subjects))

    for row, line, given in read(path):
        yield attempt(document, row, line, given)


def of_folder(files: Sequence[Path], split: str, id_field: str | None) -> Iterator[Document | XMCError]:
    """Of `files_of` a folder, called `train/<name of the file>`; the line of a document is its place among them."""
    subjects = {_stem(path, kind): path for kind in _SUBJECTS for path in files if format_of(path, (kind,))}

    def document(place: int, path: Path) -> Document:
        id_ = f"{split}/{path.name}"
        if format_of(path, ("json",)):
            return _of_json(place, id_, str(path), json_object(_content(path), str(path)), id_field)
        stem = _stem(path, "txt")
        if stem not in subjects:
            raise XMCError(f"{path}: no {stem}.tsv or {stem}.key beside it; write its subjects there, a line each")
        return place, id_, _text({"text": _content(path)}, str(path)), list(_told_subjects(subjects[stem]))

    for place, path in enumerate(files):
        if format_of(path, _IN_FOLDERS):
            yield attempt(document, place, path)


def _of_json(line: int, id_: str, where: str, given: Record | XMCError, id_field: str | None) -> Document:
    """`{"text": ..., "subjects": [{"uri": ...}, {"label": ...}], "document_id": ...}`; other fields are passed over."""
    record = usable(given)
    subjects = record.get("subjects")
    if not isinstance(subjects, list):
        raise XMCError(
            f"{where}: {subjects!r:.40} as the subjects; "
            'expected a list of {"uri": <text>} or {"label": <text>}, [] for none'
        )
    return line, _id(record, id_field, where) or id_, _text(record, where), [_subject(s, where) for s in subjects]


def _subject(given: Any, where: str) -> str:
    told = given if isinstance(given, dict) else {}
    match told.get("uri"), told.get("label"):
        case (str(uri), _) if uri:
            return bare_uri(uri)
        case (None, str(name)) if name.strip():
            return NAMED + " ".join(name.split())
    raise XMCError(f'{where}: the subject {given!r:.60}; expected {{"uri": <text>}} or {{"label": <text>}}')


def _told_subjects(path: Path) -> Iterator[str]:
    """Of each line that is not blank: `<uri>`, whatever stands behind it, else the name that is its first column."""
    for _, line in inputs.text_lines(path):
        column = next(filter(None, map(str.strip, line.split("\t"))), "")
        if column:
            bare = bare_uri(column)
            yield bare if bare != column else NAMED + " ".join(column.split())


def _text(record: Record, where: str) -> str:
    text = record.get("text", "")
    if not isinstance(text, str):
        raise XMCError(f"{where}: {text!r:.40} as the text; expected a text")
    if not (text := text.strip()):
        raise XMCError(f"{where}: empty text; give the document a text or remove it")
    return text


def _id(record: Record, field: str | None, where: str) -> str | None:
    """The id, None where there is no such field or nothing in it."""
    return id_of(record, field, where) if field is not None and record.get(field) not in (None, "") else None


def _content(path: Path) -> str:
    return "\n".join(line for _, line in inputs.text_lines(path))


def _stem(path: Path, kind: str) -> str:
    """The name up to the suffix of this format."""
    return path.name[: path.name.lower().rindex(f".{kind}")]


def _tsv_records(path: Path) -> Iterator[tuple[int, int, Record | XMCError]]:
    """Place, line and columns, called as in CSV, of each line that is not blank."""

    def record(number: int, raw: bytes) -> Record:
        line = text_line(raw, f"{path}:{number}")
        text, tab, subjects = line.partition("\t")
        if not tab:
            raise XMCError(f"{path}:{number}: expected `text<TAB><uri> <uri>`, found {line!r:.40}")
        return {"text": text, "subject_uris": subjects}

    with inputs.open_bytes(path) as stream:
        for number, raw in numbered_lines(stream, str(path)):
            if raw.strip():
                yield number - 1, number, attempt(record, number, raw)


def _csv_records(path: Path) -> Iterator[tuple[int, int, Record | XMCError]]:
    for row, (line, record) in enumerate(records(path)):
        if not isinstance(record, XMCError) and not {"text", "subject_uris"} <= record.keys():
            raise XMCError(f"{path}: columns {inputs.listing(record)}; expected text and subject_uris in the header")
        yield row, line, record


def _mostly_uris(sample: Iterable[Record | XMCError]) -> bool:
    """Whether the subjects of the file are URIs, judged by its first documents."""
    subjects = [
        subject for record in sample if not isinstance(record, XMCError) for subject in record["subject_uris"].split()
    ]
    return 2 * sum(bool(URI.fullmatch(subject)) for subject in subjects) > len(subjects)
