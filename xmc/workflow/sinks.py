"""Where predictions go: files of each format, and standard output."""

import csv
import gzip
import io
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from scipy.special import expit

from xmc.errors import XMCError
from xmc.model import Prediction
from xmc.storage import whole_file
from xmc.values import PredictionFormat
from xmc.workflow.predicting import Ranked

if TYPE_CHECKING:
    import pyarrow as pa

_ROW_GROUP = 8192  # documents


def write_predictions(
    ranked: Iterable[Ranked | XMCError],
    output: str,
    format: PredictionFormat,
    label_ids: Sequence[str],
    errors: str | None = None,
    explained: bool = False,
) -> int:
    """Write predictions to a file or, for `-`, to standard output; returns how many. A file appears only once whole.

    A document that could not be used has an empty row among scores, and none elsewhere; `errors` names a file that
    gets a JSON object, `{"error": ...}`, for each. A file whose name ends in .gz is compressed.

    jsonl: a JSON object a document, with the names and probabilities of its labels, and their words where there are
    such.
    csv: the columns id, label, name and score, a row a label; a document without labels has none.
    parquet: a row a document, as jsonl: id, and labels as a list of structs. explained: whether these have words.
    scores: the sparse text of the Extreme Classification Repository, `rows columns` and then `label:score ...` a row,
    labels by their place in `label_ids`, ascending; a score is the sigmoid of the logit, so that it is positive and
    ranks as the model does (of a calibrated model, its probability).
    annif: the JSON lines of `annif index --no-include-doc`.
    """
    with nullcontext() if errors is None else whole_file(errors) as side:
        told = ranked if side is None else _errors_told(ranked, side)
        if format == "parquet":
            with whole_file(output, "wb") as packed:
                return _write_parquet(packed, told, explained)
        with _opened(output) as out:
            match format:
                case "jsonl":
                    return _write_lines(out, told, _json_line)
                case "annif":
                    return _write_lines(out, told, _annif_line)
                case "csv":
                    return _write_csv(out, told)
                case "scores":
                    beside = Path(output).parent if Path(output).is_file() or not Path(output).exists() else None
                    return _write_scores(out, told, label_ids, None if output == "-" else beside)


def prediction_schema(explained: bool = False) -> "pa.Schema":
    """The columns of predictions in Parquet and in tables."""
    import pyarrow as pa

    of_label = [("label", pa.string()), ("name", pa.string()), ("score", pa.float64())]
    if explained:
        of_label.append(("words", pa.list_(pa.struct([("word", pa.string()), ("weight", pa.float64())]))))
    return pa.schema([("id", pa.string()), ("labels", pa.list_(pa.struct(of_label)))])


def prediction_tables(ranked: Iterable[Ranked | XMCError], explained: bool = False) -> Iterator["pa.Table"]:
    """The predictions a few thousand at a time, a row a document, without those that could not be used."""
    import pyarrow as pa

    documents = _usable(ranked)
    while group := list(islice(documents, _ROW_GROUP)):
        rows = [{"id": identifier, "labels": [_values(p) for p in labels]} for identifier, labels in group]
        yield pa.Table.from_pylist(rows, prediction_schema(explained))


def _errors_told(ranked: Iterable[Ranked | XMCError], side: IO[str]) -> Iterator[Ranked | XMCError]:
    for document in ranked:
        if isinstance(document, XMCError):
            side.write(json.dumps({"error": str(document)}, ensure_ascii=False) + "\n")
        yield document


def _usable(ranked: Iterable[Ranked | XMCError]) -> Iterator[Ranked]:
    return (document for document in ranked if not isinstance(document, XMCError))


def _write_lines(out: IO[str], ranked: Iterable[Ranked | XMCError], line: Callable[[Ranked], str]) -> int:
    count = 0
    for document in _usable(ranked):
        out.write(line(document) + "\n")
        count += 1
        if out is sys.stdout:  # where somebody may wait for each line
            out.flush()
    return count


def _json_line(document: Ranked) -> str:
    identifier, labels = document
    return json.dumps({"id": identifier, "labels": [_values(p) for p in labels]}, ensure_ascii=False)


def _values(prediction: Prediction) -> dict[str, Any]:
    values = {"label": prediction.label, "name": prediction.name, "score": round(prediction.score, 6)}
    if prediction.words is None:
        return values
    return values | {"words": [{"word": word, "weight": round(weight, 4)} for word, weight in prediction.words]}


def _annif_line(document: Ranked) -> str:
    identifier, labels = document
    results = [{"uri": p.label, "label": p.name, "notation": None, "score": round(p.score, 6)} for p in labels]
    return json.dumps({"document_id": identifier, "results": results}, ensure_ascii=False)


def _write_csv(out: IO[str], ranked: Iterable[Ranked | XMCError]) -> int:
    count, rows = 0, csv.writer(out, lineterminator="\n")
    rows.writerow(["id", "label", "name", "score"])
    for identifier, labels in _usable(ranked):
        rows.writerows([identifier, p.label, p.name, round(p.score, 6)] for p in labels)
        count += 1
        if out is sys.stdout:
            out.flush()
    return count


def _write_parquet(out: IO[bytes], ranked: Iterable[Ranked | XMCError], explained: bool) -> int:
    import pyarrow.parquet as pq

    count = 0
    with pq.ParquetWriter(out, prediction_schema(explained)) as writer:
        for table in prediction_tables(ranked, explained):
            writer.write_table(table, row_group_size=_ROW_GROUP)
            count += len(table)
    return count


def _write_scores(
    out: IO[str], ranked: Iterable[Ranked | XMCError], label_ids: Sequence[str], folder: Path | None
) -> int:
    """The number of rows comes first and is known last: the rows wait in a file without a name in `folder`."""
    columns = {label: column for column, label in enumerate(label_ids)}

    def row(document: Ranked) -> str:
        entries = sorted((columns[p.label], p.logit) for p in document[1])
        return " ".join(f"{column}:{expit(logit):.12g}" for column, logit in entries)

    with tempfile.TemporaryFile("w+", encoding="utf-8", dir=folder) as rows:
        count = _write_lines(rows, (("", []) if isinstance(one, XMCError) else one for one in ranked), row)
        rows.seek(0)
        out.write(f"{count} {len(label_ids)}\n")
        shutil.copyfileobj(rows, out)
    return count


@contextmanager
def _opened(output: str) -> Iterator[IO[str]]:
    """The output to write text to: standard output for `-`, compressed where it is named `.gz`."""
    if output == "-":
        yield sys.stdout
        sys.stdout.flush()
    elif output.endswith(".gz"):
        with (
            whole_file(output, "wb") as out,
            gzip.GzipFile("", "wb", fileobj=out, mtime=0) as packed,
            io.TextIOWrapper(packed, "utf-8") as text,
        ):
            yield text
    else:
        with whole_file(output) as out:
            yield out
