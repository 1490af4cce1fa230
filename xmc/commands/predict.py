"""`xmc predict`: the best labels of new documents."""

import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator

from xmc.commands.command import Command, Given
from xmc.commands.outputs import by_name, check_apart, check_output
from xmc.config import Section, TrainConfig, load_config_if_run
from xmc.data.files import file
from xmc.data.formats import Fields, OnError
from xmc.data.sources import Sources
from xmc.endings import undisturbed
from xmc.errors import XMCError
from xmc.job import place
from xmc.storage import digest
from xmc.values import Count, Device, Divide, OwnThreads, PredictionFormat, Text, Texts, Threshold

if TYPE_CHECKING:
    from xmc.distributed import Processes
    from xmc.model import Blend, XMCModel
    from xmc.workflow.predicting import Ranked

logger = logging.getLogger(__name__)

_FIELDS = {"text_fields": "text", "text_separator": "text_separator", "id_field": "id"}


def _shard(value: str) -> str:
    found = re.fullmatch(r"([1-9][0-9]{0,8})/([1-9][0-9]{0,8})", value)
    if found is None or int(found[1]) > int(found[2]):
        raise ValueError(f"shard: got {value!r}; give i/n, from 1/n to n/n, such as 3/8")
    return value


class PredictConfig(Section):
    """The best labels of new documents."""

    run: Text
    """folder of a run, or of a saved model"""
    input: Texts | None = None
    """a file, pattern or folder, or several [a,b]: .jsonl, .json, .csv, .tsv, .xlsx or .parquet, plain or compressed,
    or .txt, a document each | - for JSON lines on standard input; of a model of sparse features, rows as in data=bow"""
    text: Text | None = None
    """instead of input: the text of a document"""
    output: str = "-"
    """a file, or - for standard output"""
    format: PredictionFormat | None = None
    """null: by the name of the output, else jsonl | csv: id, label, name, score, a row a label | parquet | scores:
    sparse text, `rows columns`, then `label:score ...` a row | annif: as `annif index`"""
    resume: bool = False
    """keep what is predicted as it comes: the same command, given again, goes on where it was; OUTPUT.manifest.json
    says what it did"""
    shard: Annotated[Text, AfterValidator(_shard)] | None = None
    """i/n: of every n batches the i-th, for n jobs with an output each"""
    k: Count | None = None
    """labels of a document, at most; null: 5, or with threshold=auto the k of `xmc calibrate`"""
    threshold: Threshold = None
    """probability that a label needs: a number | auto: as `xmc calibrate` chose; null: none"""
    filter: Text | None = None
    """`document label` a line, both from 0: what a document's list leaves out"""
    divide: Divide = "documents"
    explain: bool = False
    """the words that say most for and against each label, with their weights; jsonl and parquet have them"""
    on_error: OnError = "error"
    """skip: leave out documents that cannot be used and list them; of scores, their rows are empty"""
    errors: Text | None = None
    """with on_error=skip: a file for what is wrong with each document that is left out, a JSON object a line"""
    batch_size: Count = 64
    device: Device = "auto"
    threads: OwnThreads = None
    text_fields: Texts | None = None
    """fields to join; null: as in training"""
    text_separator: str | None = None
    """between them; null: as in training"""
    id_field: str | None = None
    """null: as in training, or id where that numbered the documents; where a document lacks it, the line number is its
    id, of several files behind the file's name. Empty (id_field=): always the line number"""


def run(config: PredictConfig, _: Given) -> None:
    """Write the best labels of new documents, by the model of a run or one that stands alone."""
    trained = load_config_if_run(config.run)
    format = config.format or by_name(config.output) or "jsonl"
    check_output(config.output, format)
    _check_together(config, format)
    sources = None if config.input in (None, ("-",)) else Sources(config.input or ())
    if config.filter is not None:
        file(config.filter)
    check_apart(config, sources)
    with undisturbed():
        from xmc import factory
        from xmc.distributed import ALONE, Processes, joined
        from xmc.machine import prepare_machine
        from xmc.model.saved import CARD
        from xmc.workflow.resuming import Journal, check_not_begun, resumable
        from xmc.workflow.run_folder import load_model_or_blend
        from xmc.workflow.sinks import write_predictions

    fields = _fields(config, trained)

    def ranked(processes: Processes) -> tuple["XMCModel | Blend", "Callable[[int], Iterator[Ranked | XMCError]]"]:
        device = prepare_machine(config.device, config.threads, processes.local_rank)
        model = load_model_or_blend(Path(config.run), device, processes if config.divide == "labels" else ALONE)
        return model, partial(_ranked, config, sources, fields, model, processes)

    def predicted(journal: Journal | None, processes: Processes) -> int:
        model, of_behind = ranked(processes)
        if journal is not None:
            journal.extend(of_behind, config.batch_size)
        given = of_behind(0) if journal is None else journal
        return write_predictions(given, config.output, format, model.label_ids, config.errors, config.explain)

    def take_part(processes: Processes) -> None:
        """Rank for the first process, which writes."""
        if (done := processes.number_of_first(0)) >= 0:
            for _ in ranked(processes)[1](done):
                pass

    with joined(place()) as processes:
        if not processes.is_first:
            take_part(processes)
            return
        if config.resume:
            card = factory.model_folder(config.run) / CARD
            with resumable(config.output, _work(config, format, fields, sources, card)) as journal:
                processes.number_of_first(-1 if journal.complete else journal.documents)
                if journal.written is not None:
                    logger.info("%s is finished, %d documents; nothing is to be done", config.output, journal.written)
                    return
                count = predicted(journal, processes)
                journal.finish(count)
        else:
            check_not_begun(config.output)
            processes.number_of_first(0)
            count = predicted(None, processes)
    logger.info("%d documents -> %s", count, "standard output" if config.output == "-" else config.output)


def _ranked(
    config: PredictConfig,
    sources: Sources | None,
    fields: Fields,
    model: "XMCModel | Blend",
    processes: "Processes",
    done: int,
) -> Iterator["Ranked | XMCError"]:
    """Predictions for the documents of the shard, behind the first `done` of them; all are the first process's."""
    from xmc.data.filters import StreamFilter
    from xmc.data.lines import Arriving, standard_input
    from xmc.workflow.predicting import of_shard, predict_documents
    from xmc.workflow.progress import shown
    from xmc.workflow.sharing import predict_together

    source: Sources | Iterable[bytes] | None = sources
    if source is None and config.text is None:
        source = standard_input()
    documents, left_out = _documents(config, source, fields, model), None
    if config.filter is not None:
        filter = StreamFilter(Path(config.filter), len(model.label_ids))
        documents, left_out = filter.checked(documents), filter.left_out
    shard = config.shard or "1/1"

    def count() -> int | None:
        known = sources.count() if sources is not None and model.encoder.reads_text else None
        return None if known is None else known // int(shard.partition("/")[2])

    of_process = partial(
        predict_documents,
        model,
        k=config.k,
        batch_size=config.batch_size,
        threshold=config.threshold,
        left_out=left_out,
        ready=source.ready if isinstance(source, Arriving) else None,
        explain=config.explain,
    )
    coming = islice(of_shard(documents, shard, config.batch_size), done, None)
    ranked = predict_together(of_process, model, coming, config.batch_size, processes)
    return shown(ranked, count, done) if processes.is_first else ranked


def _check_together(config: PredictConfig, format: PredictionFormat) -> None:
    """Raise XMCError for keys that do not go together."""
    if (config.input is None) == (config.text is None):
        raise XMCError("give either input=, a file, pattern or folder, or - for standard input, or text=, a text")
    if config.input is not None and "-" in config.input:
        if len(config.input) > 1:
            raise XMCError("input: - is standard input, and stands alone")
        if sys.stdin is None:
            raise XMCError("input=-: standard input is closed; give it documents, or a file as input")
        if config.resume:
            raise XMCError("resume=true: standard input cannot be read a second time; give files as input")
    if place().size > 1 and config.input is not None and "-" in config.input:
        raise XMCError("input=-: standard input is read by one process; give files, or leave torchrun out")
    if config.explain and config.divide == "labels":
        raise XMCError("explain=true: reasons need all labels in one process; leave divide=labels out")
    if config.explain and format not in ("jsonl", "parquet"):
        raise XMCError(f"explain=true: format={format} has no place for reasons; give format=jsonl")
    if config.errors is not None and config.on_error != "skip":
        raise XMCError("errors: the first document that cannot be used ends the command; add on_error=skip")
    output = Path(config.output)
    if config.resume and (config.output == "-" or (output.exists() and not output.is_file())):
        raise XMCError(f"resume=true: output={output} is no file, and nothing else can be gone on with; give one")


def _work(
    config: PredictConfig, format: PredictionFormat, fields: Fields, sources: Sources | None, card: Path
) -> dict[str, object]:
    """What the predictions depend on: settings, and digests of files. card: of the model, with those of its files."""
    not_these = {"run", "input", "output", "resume", "errors", "device", "threads", "divide", *_FIELDS}
    return {
        **config.model_dump(exclude=not_these),
        **{key: getattr(fields, name) for key, name in _FIELDS.items()},
        "format": format,
        "input": sources and sources.state(),
        "filter": config.filter and digest(Path(config.filter)),
        "model": digest(card),
    }


def _fields(config: PredictConfig, trained: TrainConfig | None) -> Fields:
    """Where a document has its text and its id: as it is given, else as in training."""
    given = {name: getattr(config, key) for key, name in _FIELDS.items()}
    return (trained.data.fields if trained else Fields()).but(**given)


def _documents(
    config: PredictConfig, source: Sources | Iterable[bytes] | None, fields: Fields, model: "XMCModel | Blend"
) -> Iterator[tuple[str, str] | XMCError]:
    """Id and text of each document, or its sparse features where the model was trained on these; or its error."""
    from xmc.data.bow import read_rows
    from xmc.data.documents import read_documents

    if config.text_fields and not model.encoder.reads_text:
        raise XMCError(f"text_fields: {config.run} was trained on sparse features, which have none; leave it out")
    if source is None:
        return iter([("1", config.text or "")])
    if not model.encoder.reads_text:
        return read_rows(source, len(model.encoder.tokenizer), config.on_error)
    return read_documents(
        source, fields.text, fields.id or None, fields.text_separator, config.on_error, fields.dialect
    )


OFTEN = ("input", "text", "output", "k", "threshold", "explain", "format")
COMMAND = Command(PredictConfig, run, several=True, often=OFTEN)
