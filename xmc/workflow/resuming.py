"""Predictions that are kept as they are made, so that a run that was killed goes on where it was."""

import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

from xmc.errors import XMCError
from xmc.model import Prediction
from xmc.storage import digest, locked, read_json, unreadable, whole_file
from xmc.workflow.predicting import Ranked

logger = logging.getLogger(__name__)

_EVERY = 1.0  # seconds from one state that is sure to be on the disk to the next
_VERSION = 1


def manifest_of(output: str | Path) -> Path:
    return Path(f"{output}.manifest.json")


@dataclass(frozen=True)
class _State:
    """Documents and bytes of the journal that are sure to be on the disk, and whether these are all; of the output how
    many documents it has, None as long as there is none, and its digest."""

    documents: int = 0
    bytes: int = 0
    complete: bool = False
    written: int | None = None
    digest: str = ""


class Journal:
    """What a run has predicted so far: `<output>.partial`, a line of JSON a document, and the manifest beside it.

    The manifest says what the run does, and how much of the journal counts: whole batches, so that the batches of a run
    that goes on are those of one that was never interrupted. Numbers are kept in full.
    """

    def __init__(self, output: Path, work: Mapping[str, Any], state: _State) -> None:
        self._output, self._work, self._state = output, work, state
        self._lines = Path(f"{output}.partial")

    @property
    def documents(self) -> int:
        """How many are done."""
        return self._state.documents

    @property
    def complete(self) -> bool:
        """Whether these are all."""
        return self._state.complete

    @property
    def written(self) -> int | None:
        """How many documents the output has; None as long as there is no output."""
        return self._state.written

    def extend(self, ranked: Callable[[int], Iterable[Ranked | XMCError]], batch_size: int) -> None:
        """Keep what `ranked` gives, which is told how many documents are done and begins behind them.

        Raises:
            XMCError: the journal is shorter than the manifest says.
        """
        if self._state.complete:
            return
        self._lines.touch()
        with open(self._lines, "r+b") as out:
            if out.seek(0, os.SEEK_END) < self._state.bytes:
                raise XMCError(f"{self._lines} is shorter than it was; {_begin_anew(self._output)}")
            out.truncate(self._state.bytes)
            out.seek(self._state.bytes)
            kept, count = time.monotonic(), self._state.documents
            try:
                for document in ranked(count):
                    out.write(line_of(document))
                    count += 1
                    if count % batch_size == 0:
                        self._state = replace(self._state, documents=count, bytes=out.tell())
                        if time.monotonic() - kept > _EVERY:
                            self._keep(out)
                            kept = time.monotonic()
                self._state = replace(self._state, documents=count, bytes=out.tell(), complete=True)
            finally:
                self._keep(out)

    def __iter__(self) -> Iterator[Ranked | XMCError]:
        """All that is kept, in order."""
        with open(self._lines, "rb") as lines:
            for line in lines:
                yield document_of(line)

    def finish(self, written: int) -> None:
        """The output is in its place, of so many documents: the journal goes, the manifest stays."""
        self._state = replace(self._state, written=written, digest=digest(self._output))
        self._write_manifest()
        self._lines.unlink(missing_ok=True)

    def _keep(self, out: IO[bytes]) -> None:
        out.flush()
        os.fsync(out.fileno())
        self._write_manifest()

    def _write_manifest(self) -> None:
        with whole_file(manifest_of(self._output)) as out:
            json.dump({"version": _VERSION, "work": self._work, "state": asdict(self._state)}, out, indent=2)


def check_not_begun(output: str) -> None:
    """Raise XMCError where a run that can go on has begun the output, or has made it."""
    if (manifest := manifest_of(output)).exists():
        raise XMCError(f"{manifest} is of a run that can go on; add resume=true, {_begin_anew(output)}")


@contextmanager
def resumable(output: str, work: Mapping[str, Any]) -> Iterator[Journal]:
    """The journal of the run that makes `output`, begun or where it was.

    work: all that the predictions depend on, as JSON.

    Raises:
        XMCError: another process works on it, its manifest is of other work or cannot be read, or the output was
            changed since it was finished.
    """
    place = Path(output)
    with locked(place.parent, name=f"{place.name}.lock"):
        yield Journal(place, work, _state(place, json.loads(json.dumps(work))))


def _state(output: Path, work: Mapping[str, Any]) -> _State:
    manifest = manifest_of(output)
    if not manifest.exists():
        return _State()
    try:
        match read_json(manifest):
            case {"version": 1, "work": dict(before), "state": dict(values)}:
                state = _State(**values)
            case _:
                raise TypeError("not what xmc predict writes")
    except TypeError as error:
        raise unreadable(manifest, error) from None
    if before != work:
        raise XMCError(f"output={output} was begun with {_differences(before, work)}; {_begin_anew(output)}")
    if state.written is None:
        return state
    if not output.exists():
        logger.info("%s is gone; it is made anew", output)
        return _State()
    if digest(output) != state.digest:
        raise XMCError(f"{output} was changed since it was finished; {_begin_anew(output)}")
    return state


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """`k=3, now k=5`; of files, whose digests tell nobody anything, their key alone."""
    keys = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
    plain = [key for key in keys if key not in ("input", "filter", "model")]
    then, since = (", ".join(f"{key}={of.get(key)!r:.80}" for key in plain) for of in (before, now))
    told = [f"{then} (now {since})"] if plain else []
    return " and ".join([*told, *(f"another {key}, or it has changed since" for key in keys if key not in plain)])


def _begin_anew(output: str | Path) -> str:
    return f"give another output, or remove {manifest_of(output)} to begin anew"


def line_of(document: Ranked | XMCError) -> bytes:
    """A line of JSON, with all digits."""
    if isinstance(document, XMCError):
        return json.dumps({"error": str(document)}).encode() + b"\n"
    identifier, labels = document
    return json.dumps([identifier, [[p.label, p.name, p.score, p.logit, p.words] for p in labels]]).encode() + b"\n"


def document_of(line: bytes) -> Ranked | XMCError:
    """What `line_of` has written."""
    match json.loads(line):
        case {"error": told}:
            return XMCError(told)
        case [identifier, labels]:
            return identifier, [Prediction(*values) for values in labels]
    raise AssertionError(line)
