"""Labels for tables of documents, as Ray, Spark and their like hand them out to their workers."""

import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from xmc import factory
from xmc.config import Section, load_config_if_run, parse
from xmc.data.documents import text_of
from xmc.data.formats import Fields, OnError
from xmc.data.lines import attempt
from xmc.errors import XMCError
from xmc.machine import prepare_machine
from xmc.model import Blend, XMCModel
from xmc.model.saved import CARD
from xmc.storage import digest
from xmc.values import Count, Text, Texts, Threshold
from xmc.workflow.predicting import predict_documents
from xmc.workflow.run_folder import load_model_or_blend
from xmc.workflow.sinks import prediction_tables

logger = logging.getLogger(__name__)


class Settings(Section):
    """What may be said of predictions: keys, defaults and meanings are those of `xmc predict`."""

    k: Count | None = None
    threshold: Threshold = None
    text_fields: Texts | None = None
    text_separator: str | None = None
    id_field: Text | None = None
    on_error: OnError = "error"
    batch_size: Count = 64
    device: str = "auto"


@dataclass(frozen=True)
class Work:
    """What each worker is told. folder: of the model. fields: the columns of id and text."""

    folder: Path
    fields: Fields
    settings: Settings

    @classmethod
    def of(cls, run: str | Path, given: Mapping[str, Any]) -> Self:
        """run: of a finished run or a saved model; given: settings by name.

        Raises:
            XMCError: there is no such model, or a setting is none or has no such value.
        """
        settings, place = parse(Settings, given), Path(run).absolute()
        trained = load_config_if_run(place)
        fields = (trained.data.fields if trained else Fields()).but(
            text=settings.text_fields, text_separator=settings.text_separator, id=settings.id_field
        )
        return cls(factory.model_folder(place), fields, settings)

    @property
    def columns(self) -> list[str]:
        """The columns that are read."""
        return list(dict.fromkeys((self.fields.id, *self.fields.text)))


class Predictor:
    """A model at work on tables. A process loads it once, and keeps it until it is asked for another.

    threads: for the model; one worker beside others must not take all processors.

    Raises:
        XMCError: the model cannot be read, or reads no text.
    """

    def __init__(self, work: Work, threads: int) -> None:
        os.environ.setdefault("RAYON_NUM_THREADS", str(threads))  # of fast tokenizers
        self._work = work
        self._model = _loaded(work.folder, digest(work.folder / CARD), work.settings.device, threads)
        if not self._model.encoder.reads_text:
            raise XMCError(f"{work.folder} reads sparse features, not texts; `xmc predict shard=i/n` takes these")

    def __call__(self, documents: pa.Table) -> Iterator[pa.Table]:
        """The columns `id` and `labels`, as `xmc predict` writes them to Parquet, in the order of the documents.

        documents: a row each, with the columns of the work, and maybe others.

        Raises:
            XMCError: a document has no id or, unless `on_error` is skip, no text.
        """
        settings = self._work.settings
        ranked = predict_documents(
            self._model,
            enumerate(self._read(documents)),
            k=settings.k,
            batch_size=settings.batch_size,
            threshold=settings.threshold,
        )
        return prediction_tables(ranked)

    def _read(self, documents: pa.Table) -> Iterator[tuple[str, str] | XMCError]:
        skipped: list[XMCError] = []
        for few in documents.to_batches(self._work.settings.batch_size):
            for record in few.to_pylist():
                document = attempt(self._document, record)
                if isinstance(document, XMCError):
                    if self._work.settings.on_error == "error":
                        raise XMCError(f"{document}. on_error='skip' leaves out such documents")
                    skipped.append(document)
                yield document
        if skipped:
            logger.warning("skipped %d of %d documents; the first: %s", len(skipped), len(documents), skipped[0])

    def _document(self, record: Mapping[str, Any]) -> tuple[str, str]:
        fields = self._work.fields
        identifier = record[fields.id]
        if isinstance(identifier, bool) or not isinstance(identifier, str | int) or identifier == "":
            raise XMCError(
                f"a document has {identifier!r:.40} as {fields.id!r}; expected its id, a text or a whole number"
            )
        texts = {name: value for name, value in record.items() if name in fields.text}
        return str(identifier), text_of(texts, fields.text, fields.text_separator, f"document {identifier!r}", "")


@lru_cache(maxsize=1)
def _loaded(folder: Path, card: str, device: str, threads: int) -> XMCModel | Blend:
    """card: a digest of the model's; where it is another, the model has changed."""
    return load_model_or_blend(folder, prepare_machine(device, threads))
