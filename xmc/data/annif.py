"""Corpora of Annif: files with a document a line, folders with a document a file; subjects by URI or by name."""

import logging
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from xmc.data import files as inputs
from xmc.data.annif_documents import FORMATS, NAMED, URI, files_of, is_folder, of_file, of_folder
from xmc.data.formats import SAME_DOCUMENTS, Files, FilesBySplit, FolderData
from xmc.data.labels import read_vocabulary
from xmc.data.records import format_of
from xmc.data.splits import split_files
from xmc.errors import XMCError
from xmc.section import Before
from xmc.values import Text

if TYPE_CHECKING:
    from xmc.data.assemble import RawSplit
    from xmc.data.corpus import Corpus

log = logging.getLogger(__name__)

_OTHER_VOCABULARIES = ("ttl", "rdf", "nt", "n3", "jsonld", "skos")
_WRITE_IT = "write its names as `<uri><TAB>label` lines in"


class AnnifData(FolderData):
    """Annif's corpora: {train,dev,test}.tsv, `text<TAB><uri> <uri>` a line, .csv or .jsonl, plain or compressed.

    A .csv has the columns text and subject_uris. A split may be a folder train, dev or test, too: of .txt files with
    .tsv or .key beside them, a subject a line by URI or name, or of .json files.
    """

    kind: Literal["annif"] = "annif"
    files: FilesBySplit = Files()
    id_field: Annotated[Text | None, Before(None)] = "document_id"
    """of CSV and JSON, where they have it; null: documents are called by their place"""
    vocabulary: Annotated[str | None, SAME_DOCUMENTS] = None
    """`<uri><TAB>label` a line; null: vocabulary.tsv under root if there is one, else the data's own"""

    def read(self) -> "Corpus":
        """The corpus of `{train,dev,test}.{tsv,csv,jsonl}[.gz]` or folders of such names; dev and test may lack.

        TSV: `text<TAB><uri> <uri>` a line, no header. CSV: the columns `text` and `subject_uris` among others. JSON:
        `text` and `subjects` with `uri` or `label` each. Subjects that are told by their names are looked up in the
        vocabulary. Without one it is what the data holds, URIs and names, and a file of the folder that looks like one
        is told. Documents that tell no id are named `train-0`, ... by their line (TSV) or row, in folders
        `train/<name of the file>`. What makes the rest of a CSV file unreadable is an error always.

        Raises XMCError, naming file and line, for whatever cannot be read or does not fit together.
        """
        from xmc.data.assemble import assemble
        from xmc.data.shards import in_order
        from xmc.data.store import stored

        def keep(path: Path, name: str) -> "RawSplit":
            options = {"on_error": self.on_error, "split": name, "id_field": self.id_field}
            if path.is_dir():
                return stored(of_folder, files_of(path), self.cache, folder=path, **options)
            return stored(of_file, (path,), self.cache, **options)

        folder = self.folder
        found = split_files(folder, self.files.given(), FORMATS, is_split=is_folder)
        splits = {split: in_order(paths, split, keep) for split, paths in found.items()}
        vocabulary = folder / (self.vocabulary or "vocabulary.tsv")
        if vocabulary.is_file() and format_of(vocabulary, ("csv", *_OTHER_VOCABULARIES)):
            raise XMCError(f"{vocabulary} is not read as a vocabulary; {_WRITE_IT} {folder / 'vocabulary.tsv'}")
        names = read_vocabulary(vocabulary) if self.vocabulary or vocabulary.is_file() else None
        if names is None:
            _advise_on_vocabulary(folder, {path for paths in found.values() for path in paths})
        splits = {split: _by_uri(part, names or {}) for split, part in splits.items()}
        return assemble(folder.resolve().name, splits, names, str(vocabulary), self.on_error)


def _by_uri(split: "RawSplit", names: Mapping[str, str]) -> "RawSplit":
    """With the URIs of subjects that are told by their names.

    names: by URI. Where several have one name the last is meant, as Annif has it; a name that none has stays itself.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    def named(chunk: pa.ListArray) -> pa.ListArray:
        subjects = chunk.flatten()
        found = pc.take(uris, pc.index_in(subjects, value_set=keys))
        plain = pc.replace_substring_regex(subjects, pattern=f"^{NAMED}", replacement="")
        offsets = np.concatenate([[0], pc.list_value_length(chunk).to_numpy(zero_copy_only=False).cumsum()])
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pc.coalesce(found, plain))

    if not any(pc.any(pc.starts_with(chunk.flatten(), pattern=NAMED)).as_py() for chunk in split.labels.chunks):
        return split
    by_name = {NAMED + " ".join(name.split()): uri for uri, name in names.items()}
    keys, uris = pa.array(by_name, pa.string()), pa.array(by_name.values(), pa.string())
    return replace(split, labels=pa.chunked_array(map(named, split.labels.chunks), split.labels.type))


def _advise_on_vocabulary(folder: Path, documents: Collection[Path]) -> None:
    """Log which file beside the documents may be the vocabulary."""
    beside = sorted(path for path in folder.iterdir() if path.is_file() and path not in documents)
    if found := [path.name for path in beside if _is_vocabulary(path)]:
        log.warning(
            "%s: subjects are called by their URIs, since there is no vocabulary.tsv; if %s has their names, set "
            "data.vocabulary=%s",
            *(folder, " or ".join(found), found[0]),
        )
    elif found := [path.name for path in beside if format_of(path, _OTHER_VOCABULARIES) or _is_csv_vocabulary(path)]:
        log.warning(
            "%s: subjects are called by their URIs; %s is not read: %s %s",
            *(folder, found[0], _WRITE_IT, folder / "vocabulary.tsv"),
        )


def _is_vocabulary(path: Path) -> bool:
    """Whether the first line has a URI and a name behind it; in a corpus the URIs are last."""
    uri, tab, _ = _first_line(path, "tsv", "txt").partition("\t")
    return bool(tab and URI.fullmatch(uri))


def _is_csv_vocabulary(path: Path) -> bool:
    """Whether the header is that of a vocabulary of Annif, such as `uri,label_en`."""
    return "uri" in re.split(r"\W+", _first_line(path, "csv"))


def _first_line(path: Path, *formats: str) -> str:
    """Of a file of these formats; empty where there is none."""
    if format_of(path, formats) is None:
        return ""
    try:
        return next(inputs.text_lines(path), (1, ""))[1]
    except XMCError:
        return ""
