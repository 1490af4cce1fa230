"""`xmc predict`: the best labels of new documents."""

import logging
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator

from xmc.commands.command import Command, Given
from xmc.config import Section, TrainConfig, load_config_if_run
from xmc.data.formats import Fields, OnError
from xmc.endings import undisturbed
from xmc.errors import XMCError
from xmc.values import Count, Text, Texts, Threads

if TYPE_CHECKING:
    from xmc.model import Blend, XMCModel

logger = logging.getLogger(__name__)

_OTHER_FORMATS = (".parquet", ".csv", ".tsv", ".xlsx", ".xls", ".ods", ".arrow", ".npz", ".bz2", ".xz", ".zst", ".zip")


def _threshold(value: object) -> object:
    if value in (None, "auto") or (isinstance(value, int | float) and 0 <= value <= 1):
        return value
    raise ValueError(f"threshold: got {value!r}; give auto, a probability from 0 to 1, or null for the k best labels")


class PredictConfig(Section):
    """The best labels of new documents."""

    run: Text
    input: Text
    """.jsonl, .csv, .tsv or .parquet, plain or compressed, or - for JSON lines on standard input; of a model of sparse
    features, rows as in data=bow"""
    output: str = "-"
    """a file, or - for standard output"""
    format: Literal["jsonl", "scores", "annif"] = "jsonl"
    """scores: sparse text, `rows columns`, then `label:score ...` a row | annif: as `annif index`"""
    k: Count | None = None
    """labels of a document, at most; null: 5, or with threshold=auto the k of `xmc calibrate`"""
    threshold: Annotated[float | Literal["auto"] | None, BeforeValidator(_threshold)] = None
    """probability that a label needs: a number | auto: as `xmc calibrate` chose; null: none"""
    filter: Text | None = None
    """`document label` a line, both from 0: what a document's list leaves out"""
    explain: bool = False
    """the words that say most for and against each label, with their weights; with format=jsonl"""
    on_error: OnError = "error"
    """skip: leave out documents that cannot be used and list them; of scores, their rows are empty"""
    batch_size: Count = 64
    device: str = "auto"
    threads: Threads | None = None
    text_fields: Texts | None = None
    """fields to join; null: as in training"""
    text_separator: str | None = None
    """between them; null: as in training"""
    id_field: str | None = None
    """null: as in training, or id where that numbered the documents; where a document lacks it, the line number is its
    id. Empty (id_field=): always the line number"""


def run(config: PredictConfig, _: Given) -> None:
    """Write the best labels of new documents, by the model of a run or one that stands alone."""
    trained = load_config_if_run(config.run)
    if config.input == "-" and sys.stdin is None:
        raise XMCError("input=-: standard input is closed; give it documents, or a file as input")
    check_output(config.output, config.format, config.input, config.filter)
    if config.explain and config.format != "jsonl":
        raise XMCError(f"explain=true: format={config.format} has no place for reasons; give format=jsonl")
    with undisturbed():
        from xmc import factory
        from xmc.data.arriving import Arriving, standard_input
        from xmc.data.files import file
        from xmc.data.filters import StreamFilter
        from xmc.workflow.predicting import predict_documents, write_predictions
        from xmc.workflow.run_folder import load_model_or_blend

    for name in (config.input, config.filter):  # before a model is loaded, which may take long
        if name not in ("-", None):
            file(name)
    device = factory.prepare_machine(config.device, config.threads)
    model = load_model_or_blend(Path(config.run), device)
    source = standard_input() if config.input == "-" else config.input
    documents, left_out = _documents(config, source, trained, model), None
    if config.filter is not None:
        filter = StreamFilter(Path(config.filter), len(model.label_ids))
        documents, left_out = filter.checked(documents), filter.left_out
    ranked = predict_documents(
        *(model, documents),
        k=config.k,
        batch_size=config.batch_size,
        threshold=config.threshold,
        left_out=left_out,
        ready=source.ready if isinstance(source, Arriving) else None,
        explain=config.explain,
    )
    count = write_predictions(ranked, config.output, config.format, model.label_ids)
    logger.info("%d documents -> %s", count, "standard output" if config.output == "-" else config.output)


def check_output(output: str, format: str, *read: str | None) -> None:
    """Refuse an output that cannot be what is wanted, before anything is read.

    read: the files to be read, `-` for standard input.

    Raises:
        XMCError: it has no name, is a folder, is named as another format, or is one of the files to be read.
    """
    if not output:
        raise XMCError("output= is empty; give a file to write, or - for standard output")
    if output == "-":
        return
    path = Path(output)
    if path.is_dir():
        raise XMCError(f"output={output} is a folder; give a file in it, such as output={path / 'predictions.jsonl'}")
    if path.suffix.lower() in _OTHER_FORMATS:
        raise XMCError(
            f"output={output}: predictions are text (format={format}), which no {path.suffix} file holds; give "
            f"output={path.with_suffix('.jsonl')} with format=jsonl or annif, or {path.with_suffix('.txt')} with scores"
        )
    for name in read:
        if name is not None and _same_file(name, path):
            raise XMCError(f"output={output} is the file that {name} is read from; give another file")


def _same_file(read: str, written: Path) -> bool:
    try:
        found = os.fstat(sys.stdin.fileno()) if read == "-" else os.stat(read)
        return stat.S_ISREG(found.st_mode) and os.path.samestat(found, written.stat())
    except (OSError, ValueError):  # ValueError: a standard input that is no file
        return False


def _documents(
    config: PredictConfig, source: str | Iterable[bytes], trained: TrainConfig | None, model: "XMCModel | Blend"
) -> Iterator[tuple[str, str] | XMCError]:
    """Id and text of each document, or its sparse features where the model was trained on these; or its error."""
    from xmc.data.bow import read_rows
    from xmc.data.documents import read_documents

    if not model.encoder.reads_text:
        if config.text_fields:
            raise XMCError(f"text_fields: {config.run} was trained on sparse features, which have none; leave it out")
        return read_rows(source, len(model.encoder.tokenizer), config.on_error)
    given = {"text": config.text_fields, "text_separator": config.text_separator, "id": config.id_field}
    fields = (trained.data.fields if trained else Fields()).but(**given)
    return read_documents(source, fields.text, fields.id or None, fields.text_separator, config.on_error)


COMMAND = Command(PredictConfig, run)
