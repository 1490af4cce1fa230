"""Data sets of the Hugging Face Hub, and folders that its library `datasets` reads; no code of theirs is run."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from xmc.data.columnar import names_of_classes
from xmc.data.files import listing
from xmc.data.formats import SAME_DOCUMENTS, Document, Fields, Files
from xmc.data.lines import attempt
from xmc.data.splits import SPLITS
from xmc.data.table import RecordData, document_of
from xmc.endings import undisturbed
from xmc.errors import XMCError, said
from xmc.storage import home_expanded
from xmc.values import Text

if TYPE_CHECKING:
    from datasets import Dataset

    from xmc.data.corpus import Corpus

_BATCH = 1000  # rows


class HuggingFaceData(RecordData):
    """A set of the Hugging Face Hub, or a folder that its library `datasets` reads or has saved."""

    kind: Literal["hf"] = "hf"
    name: Annotated[Text, SAME_DOCUMENTS]
    """owner/set, or a folder"""
    config: Annotated[Text | None, SAME_DOCUMENTS] = None
    """of a set that has several"""
    revision: Annotated[Text | None, SAME_DOCUMENTS] = None
    """of the Hub: a branch, a tag or a commit"""
    splits: Annotated[Files, SAME_DOCUMENTS] = Files()
    """what each is called there; null: train, dev or validation, test"""
    id_field: str | None = None
    """null: the row number"""

    def read(self) -> "Corpus":
        """The corpus of the splits that are called so; dev and test may lack.

        The library keeps what it downloads in its own cache, memory-mapped. Numbers of a `ClassLabel`, alone or in a
        `Sequence`, become its names.
        """
        from xmc.data.assemble import assemble
        from xmc.data.store import stored

        source, splits = (self.name, self.config, self.revision), {}
        found = _load(*source)
        for split, called in self._called(found).items():
            files = tuple(Path(file["filename"]) for file in found[called].cache_files)
            splits[split] = stored(
                *(_documents, files, self.cache),
                on_error=self.on_error,
                name=f"{self.name}/{called}",
                source=(*source, called),
                split=split,
                **self.how,
            )
        return assemble(Path(self.name).name, splits, on_error=self.on_error)

    def _called(self, found: Mapping[str, "Dataset"]) -> dict[str, str]:
        """What each of our splits is called among those of the set."""
        given = self.splits.given()
        if lacking := [name for name in given.values() if name not in found]:
            raise XMCError(f"{self.name} has no split {lacking[0]!r}; it has: {listing(found)}. Set data.splits")
        named = {split: next((name for name in names if name in found), None) for split, names in SPLITS.items()}
        called = {split: name for split, name in {**named, **given}.items() if name is not None}
        if "train" not in called:
            raise XMCError(f"{self.name} has no split 'train'; it has: {listing(found)}. Set data.splits.train")
        return called


def _load(name: str, config: str | None, revision: str | None) -> Mapping[str, "Dataset"]:
    with undisturbed():
        from datasets import DatasetDict, load_dataset, load_from_disk
        from datasets.exceptions import DatasetsError

    folder = home_expanded(name)
    try:
        if any((folder / saved).is_file() for saved in ("dataset_dict.json", "state.json")):
            found = load_from_disk(str(folder))
        else:
            found = load_dataset(str(folder) if folder.is_dir() else name, config, revision=revision)
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        what = "the folder cannot be read as a set" if folder.is_dir() else "neither a folder nor a set of the Hub"
        told = f"data.name={name}: {what} ({said(error):.300})"
        raise XMCError(f"{told}; give owner/set, or a folder of Parquet, JSON or CSV files") from None
    return found if isinstance(found, DatasetDict) else {"train": found}


def _documents(
    files: tuple[Path, ...], source: tuple[str, str | None, str | None, str], split: str, fields: Fields, has_id: bool
) -> Iterator[Document | XMCError]:
    name, config, revision, called = source
    dataset = _load(name, config, revision)[called]
    wanted = [*fields.text, fields.label, *([fields.id] if has_id else [])]
    if set(wanted) <= set(dataset.column_names):  # so that images and the like are left alone
        dataset = dataset.select_columns(wanted)
    named, row = names_of_classes(dataset.features), 0
    for batch in dataset.iter(_BATCH):
        for values in zip(*batch.values(), strict=True):
            record: dict[str, Any] = named(dict(zip(batch, values, strict=True)))
            yield attempt(document_of, record, (f"{name}/{called}", row + 1), f"{split}-{row}", fields, has_id)
            row += 1
