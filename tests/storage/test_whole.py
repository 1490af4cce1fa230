import errno
import multiprocessing
import os
import signal
import stat
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from xmc.storage import sweep, whole_file, whole_folder


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.endswith(".tmp")]


def test_a_file_appears_once_written(tmp_path: Path) -> None:
    place = tmp_path / "deep" / "Bücher.jsonl"
    with whole_file(place) as out:
        out.write("ü\n")
        assert not place.exists()
    assert place.read_bytes() == "ü\n".encode() and not leftovers(place.parent)


def test_what_fails_leaves_the_old_file(tmp_path: Path) -> None:
    place = tmp_path / "a"
    place.write_text("old")
    with pytest.raises(RuntimeError), whole_file(place) as out:
        out.write("new")
        raise RuntimeError
    assert place.read_text() == "old" and not leftovers(tmp_path)


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions_are_those_that_the_umask_leaves(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with whole_file(tmp_path / "a"):
            pass
        with whole_folder(tmp_path / "b") as folder:
            (folder / "c").touch(0o600)
            (folder / "d" / "e").mkdir(parents=True)
            (folder / "d" / "e" / "f").touch(0o600)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~umask
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o777 & ~umask
    for name in ("c", "d/e/f"):
        assert stat.S_IMODE((tmp_path / "b" / name).stat().st_mode) == 0o666 & ~umask


def test_a_symlink_stays_one(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    with whole_file(tmp_path / "link") as out:
        out.write("new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_text() == "new"


def test_a_pipe_is_written_to_by_its_descriptor() -> None:
    reader, writer = os.pipe()
    with whole_file(f"/proc/self/fd/{writer}") as out:  # as /dev/stdout is
        out.write("line\n")
    os.close(writer)
    with open(reader) as lines:
        assert lines.read() == "line\n"


def test_a_fifo_is_written_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_text()))
    reader.start()
    with whole_file(tmp_path / "pipe") as out:
        out.write("through")
    reader.join(10)
    assert read == ["through"] and stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_a_folder_in_the_way_is_told(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="is a folder"), whole_file(tmp_path):
        pass
    (tmp_path / "file").write_text("old")
    with pytest.raises(NotADirectoryError, match="is a file; expected a folder"), whole_folder(tmp_path / "file"):
        pass
    assert (tmp_path / "file").read_text() == "old"


def test_a_folder_replaces_the_old_one(tmp_path: Path) -> None:
    for content in ("old", "new"):
        with whole_folder(tmp_path / "model") as folder:
            (folder / content).write_text(content)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["new"]


def test_what_fails_leaves_the_old_folder(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").touch()
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "model"):
        raise RuntimeError
    assert (tmp_path / "model" / "old").exists() and not leftovers(tmp_path)


def _write_for_ever(place: Path, started: "multiprocessing.synchronize.Event") -> None:
    with whole_file(place.with_suffix(".txt")) as out, whole_folder(place) as folder:
        out.write("half")
        (folder / "half").touch()
        started.set()
        signal.pause()


def test_only_what_killed_writers_left_is_swept(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    (tmp_path / ".my.project.tmp").mkdir()
    (tmp_path / ".notes.2024.tmp").touch()
    strangers = leftovers(tmp_path)
    started = context.Event()
    writer = context.Process(target=_write_for_ever, args=(tmp_path / "a[1]", started))
    writer.start()
    assert started.wait(60)
    sweep(tmp_path)
    assert len(leftovers(tmp_path)) == 4, "a living writer keeps its work"
    writer.kill()
    writer.join()
    sweep(tmp_path, "another")
    assert len(leftovers(tmp_path)) == 4
    with whole_folder(tmp_path / "a[1]"):
        pass
    with whole_file(tmp_path / "a[1].txt"):
        pass
    assert leftovers(tmp_path) == strangers, "the next writer of a place sweeps it, and nothing else"


@pytest.mark.parametrize("whole", [whole_file, whole_folder])
def test_errors_name_the_place(tmp_path: Path, whole: Callable[..., AbstractContextManager[Any]]) -> None:
    """And not the temporary file beside it, nor nothing."""
    place, circle = tmp_path / "a", tmp_path / "circle"
    circle.symlink_to(circle)
    with pytest.raises(OSError) as full, whole(place):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(OSError) as loop, whole(circle):
        pass
    with pytest.raises(OSError) as long, whole(tmp_path / ("x" * 256)):
        pass
    with pytest.raises(OSError) as other, whole(place):
        raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
    assert full.value.filename == str(place)
    assert (loop.value.errno, loop.value.filename) == (errno.ELOOP, str(circle))
    assert (long.value.errno, long.value.filename) == (errno.ENAMETOOLONG, str(tmp_path / ("x" * 256)))
    assert other.value.filename is None
    assert not leftovers(tmp_path)
