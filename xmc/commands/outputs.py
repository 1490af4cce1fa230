"""Where `xmc predict` writes: what such an output is named, and that it is nothing that is read."""

import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from xmc.data.sources import Sources
from xmc.errors import XMCError
from xmc.values import PredictionFormat

if TYPE_CHECKING:
    from xmc.commands.predict import PredictConfig

_BY_NAME: Mapping[str, PredictionFormat] = {".csv": "csv", ".parquet": "parquet", ".jsonl": "jsonl"}
_OTHER_FORMATS = (".tsv", ".xlsx", ".xls", ".ods", ".arrow", ".npz", ".bz2", ".xz", ".zst", ".zip")


def check_output(output: str, format: PredictionFormat) -> None:
    """Refuse an output that cannot be what is wanted, before anything is read.

    Raises:
        XMCError: it has no name, is a folder, or is named as another format.
    """
    if not output:
        raise XMCError("output= is empty; give a file to write, or - for standard output")
    path, named = Path(output), by_name(output)
    if path.is_dir():
        raise XMCError(f"output={output} is a folder; give a file in it, such as output={path / 'predictions.jsonl'}")
    if format == "parquet" and (output == "-" or path.suffix.lower() == ".gz"):
        raise XMCError(f"output={output}: format=parquet needs a file, and packs it itself; give output=<file>.parquet")
    if named in ("csv", "parquet") and named != format:
        raise XMCError(f"output={output} is named as format={named}, not {format}; leave format out, or rename it")
    if path.suffix.lower() in _OTHER_FORMATS:
        raise XMCError(
            f"output={output}: no format of predictions has names in {path.suffix}; give "
            f"output={path.with_suffix('.jsonl')}, .csv or .parquet, or {path.with_suffix('.txt')} with format=scores"
        )


def check_apart(config: "PredictConfig", sources: Sources | None) -> None:
    """Refuse an output, or a file of errors, that is read, lies in a folder that is read, or is the other.

    Raises:
        XMCError: it is so.
    """
    for key, written in (("output", config.output), ("errors", config.errors)):
        if written is None or written == "-":
            continue
        path = Path(written)
        if sources is not None and sources.holds(path):
            raise XMCError(f"{key}={written} is among what {sources} is read from; give a file elsewhere")
        others = {"filter": config.filter, "standard input": "-" if config.input == ("-",) else None}
        if key == "errors":
            others["output"] = config.output
        for other, name in others.items():
            if name is not None and (name == written or _same_file(name, path)):
                raise XMCError(f"{key}={written} is the file of {other}, too; give another file")


def by_name(output: str) -> PredictionFormat | None:
    """The format that the name of an output tells, packed or not."""
    return _BY_NAME.get(Path(output.removesuffix(".gz")).suffix.lower())


def _same_file(read: str, written: Path) -> bool:
    try:
        found = os.fstat(sys.stdin.fileno()) if read == "-" else os.stat(read)
        return stat.S_ISREG(found.st_mode) and os.path.samestat(found, written.stat())
    except (OSError, ValueError):  # ValueError: a standard input that is no file
        return False
