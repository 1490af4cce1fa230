import errno
import logging
import os
import random
import resource
import shutil
import signal
import time
from collections.abc import Iterator
from multiprocessing import get_context
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from xmc.data import table as module
from xmc.data.cache import cached
from xmc.data.corpus import Corpus
from xmc.data.table import JsonlData
from xmc.errors import XMCError

LINES = "".join(f'{{"id": "d{i}", "text": "word{i} other{i % 7}", "labels": ["l{i % 5}"]}}\n' for i in range(50))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "train.jsonl").write_text(LINES)
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def read_jsonl(root: Path, cache: Path) -> Corpus:
    return JsonlData(root=str(root), cache_dir=str(cache)).read()


def written(working: Path) -> None:
    (working / "a").write_text("whole")


def text_of(folder: Path) -> str:
    return (folder / "a").read_text()


def flips(folder: Path, count: int) -> Iterator[str]:
    """Copies of the folder, put in its place one after another, each with one bit of one file flipped."""
    whole = folder.with_name("whole")
    shutil.copytree(folder, whole)
    files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file() and path.stat().st_size)
    for seed in range(count):
        chosen = random.Random(seed)
        shutil.rmtree(folder)
        shutil.copytree(whole, folder)
        path = folder / chosen.choice(files)
        content = bytearray(path.read_bytes())
        place, bit = chosen.randrange(len(content)), chosen.randrange(8)
        content[place] ^= 1 << bit
        path.write_bytes(content)
        yield f"{path.name}, byte {place}, bit {bit}"


@pytest.mark.parametrize("count", [40, pytest.param(400, marks=pytest.mark.slow)])
def test_no_flipped_bit_of_the_documents_is_read(
    root: Path, cache: Path, caplog: pytest.LogCaptureFixture, count: int
) -> None:
    expected = read_jsonl(root, cache).fingerprint
    with caplog.at_level(logging.WARNING):
        for number, flip in enumerate(flips(cache, count), 1):
            assert read_jsonl(root, cache).fingerprint == expected, flip
            assert caplog.text.count("is damaged and is made anew") == number, flip


@pytest.mark.parametrize("damage", ["missing", "truncated", "added", "manifest"])
def test_a_damaged_folder_is_made_anew(cache: Path, caplog: pytest.LogCaptureFixture, damage: str) -> None:
    folder = cache / "f"
    cached(folder, written, text_of)
    if damage == "missing":
        (folder / "a").unlink()
    elif damage == "truncated":
        (folder / "a").write_text("who")
    elif damage == "added":
        (folder / "b").write_text("")
    else:
        (folder / "manifest.json").write_text('{"a": ')
    with caplog.at_level(logging.WARNING):
        assert cached(folder, written, text_of) == "whole"
    assert caplog.messages == [f"{folder} is damaged and is made anew"]
    assert sorted(path.name for path in folder.iterdir()) == ["a", "manifest.json"]
    caplog.clear()
    assert cached(folder, lambda _: pytest.fail("made anew"), text_of) == "whole"
    assert not caplog.messages


def test_equal_size_and_time_stamp_are_not_equal_contents(root: Path, cache: Path) -> None:
    path = root / "train.jsonl"
    before = path.stat()
    read_jsonl(root, cache)
    path.write_text(LINES.replace("word7 ", "lord7 "))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert read_jsonl(root, cache).split("train").texts[7] == "lord7 other0"


def test_a_touched_file_is_not_read_again(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_jsonl(root, cache).fingerprint
    os.utime(root / "train.jsonl", ns=(1, 1))
    monkeypatch.setattr(module, "records", lambda _: pytest.fail("read again"))
    assert read_jsonl(root, cache).fingerprint == before


def test_a_file_that_changes_while_it_is_read(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real = root / "train.jsonl", module.records

    def records(given: Path, *dialect: object) -> Iterator[object]:
        for number, record in real(given, *dialect):
            if number == 10:
                path.write_text(LINES.replace("word49", "lord49"))
            yield number, record

    monkeypatch.setattr(module, "records", records)
    with pytest.raises(
        XMCError, match=r"train.jsonl changed while it was read; repeat the command when nothing writes"
    ):
        read_jsonl(root, cache)
    monkeypatch.undo()
    assert read_jsonl(root, cache).split("train").texts[49] == "lord49 other0"


def wanting(together: Barrier, results: Queue, root: Path, cache: Path, folders: int) -> None:
    together.wait()
    read = [
        cached(cache / str(number), lambda f: (f / "a").write_text(f.parent.name), text_of) for number in range(folders)
    ]
    results.put((read, read_jsonl(root, cache).fingerprint))


def test_a_lock_that_a_killed_process_left_goes(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    cached(folder, written, text_of)
    for left in (".kept", ".kept.json"):
        (tmp_path / left).touch()
    assert cached(folder, written, text_of) == "whole"
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


@pytest.mark.parametrize(
    ("processes", "rounds"), [(6, 3), pytest.param(20, 12, marks=pytest.mark.slow)], ids=["18 calls", "240 calls"]
)
def test_processes_that_want_the_same_all_get_it(root: Path, tmp_path: Path, processes: int, rounds: int) -> None:
    forks = get_context("fork")
    expected = (["cache"] * 5, read_jsonl(root, tmp_path / "other").fingerprint)
    for number in range(rounds):
        cache = tmp_path / str(number) / "cache"
        results, arguments = forks.Queue(), (root, cache, 5)
        together = forks.Barrier(processes)
        started = [forks.Process(target=wanting, args=(together, results, *arguments)) for _ in range(processes)]
        for process in started:
            process.start()
        assert [results.get(timeout=120) for _ in started] == [expected] * processes
        for process in started:
            process.join()
        assert not list(cache.glob("*.tmp"))


def test_what_a_killed_writer_left_is_swept(cache: Path) -> None:
    started = os.fork()
    if started == 0:
        cached(cache / "killed", lambda working: (written(working), time.sleep(60)), text_of)  # type: ignore[func-returns-value]
    while not list(cache.glob(".killed.*.tmp/a")):
        time.sleep(0.01)
    os.kill(started, signal.SIGKILL)
    os.waitpid(started, 0)
    assert cached(cache / "other", written, text_of) == "whole"
    assert not list(cache.glob("*.tmp"))
    assert cached(cache / "killed", written, text_of) == "whole"


def test_a_cache_that_cannot_be_written(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for place in ("file", "file/below", "loop", "x" * 300):
        with pytest.raises(XMCError, match=r"^the cache .*documents-\w+ cannot be .*: data.cache_dir=...$"):
            read_jsonl(root, tmp_path / place)


def test_a_file_beyond_what_the_system_takes(root: Path, cache: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(XMCError, match=rf"^the cache .* cannot be written or read \({os.strerror(errno.EFBIG)}"):
            read_jsonl(root, cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(cache.glob("*.tmp"))
    assert len(read_jsonl(root, cache).split("train")) == 50
