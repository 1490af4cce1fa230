"""How a command ends: done, in one clear line about what went wrong, or stopped by a signal.

Exit status: 0, 1, or 128 and the number of the signal.
"""

import errno
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from xmc.errors import STOP_SIGNALS, XMCError
from xmc.terminal import without_passwords

AGAIN = "give the command again"

_REMEDIES = {
    errno.EACCES: "give a file that you may read, or a place that you may write to",
    errno.EPERM: "give a file that you may read, or a place that you may write to",
    errno.EROFS: "give a place that can be written to",
    errno.EEXIST: "give a folder, or a name that is free",
    errno.ENOTDIR: "give a folder, or a name that is free",
    errno.EISDIR: "give another name",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "give the file itself, as the link leads back to itself",
    errno.EFBIG: "raise the limit on the size of a file (ulimit -f)",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
}
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_NUMBERED = re.compile(r"(?:os error|errno) (\d+)", re.IGNORECASE)  # how libraries tell of an error of the system
_NO_MEMORY = re.compile(r"can't allocate memory|not enough memory|out of memory|std::bad_alloc", re.IGNORECASE)


class Stopped(KeyboardInterrupt):
    """A signal to stop came."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.signal_number = signal_number


@contextmanager
def stoppable() -> Iterator[None]:
    """Inside, each signal to stop that the process does not ignore raises `Stopped`, in this process alone.

    Where Python drops what is raised, as in a destructor, the signal comes once more.
    """
    owner, drop = os.getpid(), sys.unraisablehook

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a worker that was forked: it ends as it would have
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        raise Stopped(number)

    def come_again(dropped: "sys.UnraisableHookArgs") -> None:
        if isinstance(dropped.exc_value, Stopped):
            threading.Timer(0.1, os.kill, (owner, dropped.exc_value.signal_number)).start()
        else:
            drop(dropped)

    sys.unraisablehook = come_again
    try:
        with _answered_by(stop):
            yield
    finally:
        sys.unraisablehook = drop


@contextmanager
def undisturbed() -> Iterator[None]:
    """Inside, the first signal to stop of each kind waits until the end; the second acts as it did before.

    It is for imports: libraries swallow what is raised while they are imported, or wrap it in an error of their own.
    """
    waiting: list[int] = []
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}

    def wait(number: int, frame: FrameType | None) -> None:
        waiting.append(number)
        signal.signal(number, before[signal.Signals(number)])

    try:
        with _answered_by(wait):
            yield
    finally:
        for number in waiting:
            signal.raise_signal(number)


@contextmanager
def _answered_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Inside, the handler gets the signals to stop that the process does not ignore; not in a thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = [number for number in STOP_SIGNALS if signal.getsignal(number) not in (signal.SIG_IGN, None)]
    previous = {number: signal.signal(number, handler) for number in heard}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


@contextmanager
def one_line(command: str, way_on: Callable[[], str]) -> Iterator[None]:
    """What ends a command early leaves as SystemExit, told in one line; a fault of xmc's own stays as it is."""
    try:
        yield
    except BrokenPipeError:
        _reader_has_gone()
    except (Exception, KeyboardInterrupt) as error:
        if stop := _stop_behind(error):
            interrupted(way_on(), stop.signal_number if isinstance(stop, Stopped) else signal.SIGINT)
        if isinstance(error, XMCError):
            sys.exit(without_passwords(f"xmc {command}: {error}"))
        if (told := _refused(error)) is None:
            raise
        sys.exit(without_passwords(f"xmc {command}: {told}, then {way_on()}"))


def interrupted(way_on: str, number: int) -> NoReturn:
    print(f"interrupted; {way_on}", file=sys.stderr)
    sys.exit(128 + number)


def _stop_behind(error: BaseException) -> KeyboardInterrupt | None:
    """The signal that the error is, or that came first: a library may raise an error of its own in its place."""
    behind: BaseException | None = error
    while behind is not None and not isinstance(behind, KeyboardInterrupt):
        behind = behind.__cause__ or behind.__context__
    return behind


def _reader_has_gone() -> NoReturn:
    """Who read standard output, such as head, wants no more of it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(128 + signal.SIGPIPE)


def _refused(error: BaseException) -> str | None:
    """What the system did not give, and what to do about it; None where that is not what went wrong."""
    for cause in _causes(error):
        if _is_out_of_memory(cause):
            return (
                f"memory is exhausted ({_first_line(cause)}); give smaller batches (trainer.micro_batch_size, "
                "batch_size), or see what `xmc estimate` advises"
            )
        number, file = _number_and_file(cause)
        if number in _DISK_FULL:
            return f"the disk is full ({file or _first_line(cause)}); make room"
        if isinstance(cause, OSError) or number is not None:
            reason = getattr(cause, "strerror", None) or _first_line(cause)
            remedy = _REMEDIES.get(number or 0, "see to that")
            return f"{file}: {reason}; {remedy}" if file else f"{reason}; {remedy}"
    return None


def _is_out_of_memory(error: BaseException) -> bool:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return not kinds.isdisjoint({"MemoryError", "OutOfMemoryError"}) or bool(_NO_MEMORY.search(str(error)))


def _number_and_file(error: BaseException) -> tuple[int | None, str | None]:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno, None if error.filename is None else str(error.filename)
    found = None if isinstance(error, XMCError) else _NUMBERED.search(str(error))
    return (int(found[1]) if found else None), None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and those that it was raised from, the first cause last."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:300] or type(error).__name__
