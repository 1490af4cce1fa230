"""Corpora of Annif: files with a document a line, folders with a document a file; subjects by URI or by name."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from xmc.data.annif_documents import FORMATS, NAMED, files_of, is_folder, of_file, of_folder
from xmc.data.files import file, within
from xmc.data.formats import BROADER, SAME_DOCUMENTS, Files, FilesBySplit, FolderData
from xmc.data.splits import split_files
from xmc.data.vocabulary import advise_on_vocabulary, read_broader, read_vocabulary, vocabulary_in
from xmc.section import Before
from xmc.values import Text

if TYPE_CHECKING:
    from xmc.data.assemble import RawSplit
    from xmc.data.corpus import Corpus


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
    """.tsv, `<uri><TAB>label` a line; .csv; SKOS (.ttl, .rdf, .nt); null: vocabulary.* under root, else the data's"""
    language: Annotated[Text | None, Before(None), SAME_DOCUMENTS] = None
    """of the names in a .csv or SKOS, such as en; null: the one that most have a name in"""

    def read(self) -> "Corpus":
        """The corpus of `{train,dev,test}.{tsv,csv,jsonl}[.gz]` or folders of such names; dev and test may lack.

        TSV: `text<TAB><uri> <uri>` a line, no header. CSV: the columns `text` and `subject_uris` among others. JSON:
        `text` and `subjects` with `uri` or `label` each. Subjects that are told by their names are looked up in the
        vocabulary. Without one it is what the data holds, URIs and names, and a file of the folder that looks like one
        is told. Documents that tell no id are named `train-0`, ... by their line (TSV) or row, in folders
        `train/<name of the file>`. What makes the rest of a CSV file unreadable is an error always.
        """
        from xmc.data.assemble import assemble, in_order
        from xmc.data.store import stored

        def keep(path: Path, name: str) -> "RawSplit":
            read, files, of = (of_folder, files_of(path), path) if path.is_dir() else (of_file, (path,), None)
            return stored(
                *(read, files, self.cache), on_error=self.on_error, folder=of, split=name, id_field=self.id_field
            )

        folder = self.folder
        found = split_files(folder, self.files.given(), FORMATS, is_split=is_folder)
        splits = {split: in_order(paths, split, keep) for split, paths in found.items()}
        vocabulary = file(within(folder, self.vocabulary)) if self.vocabulary else vocabulary_in(folder)
        names = None if vocabulary is None else read_vocabulary(vocabulary, self.language, self.cache)
        if names is None:
            advise_on_vocabulary(folder, {path for paths in found.values() for path in paths})
        splits = {split: _by_uri(part, names or {}) for split, part in splits.items()}
        corpus = assemble(folder.resolve().name, splits, names, str(vocabulary), self.on_error)
        if vocabulary is None or names is None or self.parents != BROADER:
            return corpus
        return replace(corpus, parents=read_broader(vocabulary, names, self.cache))


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
