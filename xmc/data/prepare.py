"""A published set on this disk: what is not in place is downloaded, checked and unpacked."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from xmc.data.download import download, sha256_of
from xmc.data.files import listing
from xmc.data.unpack import ARCHIVES, unpack
from xmc.types import XMCError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Layout:
    """The files of a set. needed: any name of each group. optional: what a reader looks at where it is there."""

    needed: Sequence[Sequence[str]]
    optional: Sequence[str]

    def missing(self, folder: Path) -> list[Sequence[str]]:
        """The groups of which the folder has no file."""
        return [group for group in self.needed if not any((folder / name).is_file() for name in group)]

    def wanted(self, folder: Path) -> set[str]:
        """The names to unpack: what is missing, and the optional files that are not there."""
        optional = [name for name in self.optional if not (folder / name).exists()]
        return {name for group in [*self.missing(folder), optional] for name in group}


PECOS = Layout([["X.trn.txt"], ["Y.trn.npz"], ["X.tst.txt"], ["Y.tst.npz"]], ["output-items.txt"])
TABLE = Layout([[f"{split}.jsonl", f"{split}.jsonl.gz"] for split in ("train", "dev", "test")], ["labels.tsv"])
REPOSITORY = Layout(
    [[f"{part}.json", f"{part}.json.gz"] for part in ("trn", "tst", "lbl")],
    ["trn_filter_labels.txt", "tst_filter_labels.txt", "filter_labels_train.txt", "filter_labels_test.txt"],
)


def prepare(root: str | Path, layout: Layout, *, url: str | None, sha256: str | None, home: str) -> None:
    """The files of a set in the folder `root`, made if need be.

    Where they are in place nothing happens. Else the archives in the folder are unpacked or, where there is none, the
    one at `url`, which is deleted then. home: where a person finds the files.

    An archive must have the SHA-256 that is given or, without one, that `<archive>.sha256` tells, which is written
    when an archive is unpacked for the first time.

    Raises XMCError where files lack in the end, naming them, and for whatever cannot be had, checked or written.
    """
    folder = Path(root).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not layout.missing(folder):
            log.info("%s: every file is in place", folder)
            return
        _fill(folder, layout, url, sha256)
    except OSError as error:
        raise XMCError(f"{folder}: cannot be prepared ({error}); give another with data.root=...") from None
    if missing := layout.missing(folder):
        present = listing(path.name for path in folder.iterdir())
        raise XMCError(
            f"{folder} lacks {', '.join(group[0] for group in missing)}; it has: {present}. Put these files, or the "
            f"archive ({', '.join(ARCHIVES)}) that holds them, there and repeat the command; they come from {home}"
        )


def _fill(folder: Path, layout: Layout, url: str | None, sha256: str | None) -> None:
    archives = sorted(path for path in folder.iterdir() if path.name.endswith(ARCHIVES) and path.is_file())
    named = None if url is None else folder / PurePosixPath(urlsplit(url).path).name
    downloaded = named is not None and not archives
    if named is not None and downloaded:
        if not named.name.endswith(ARCHIVES):
            raise XMCError(f"data.benchmark.url={url}: expected the address of an archive: {', '.join(ARCHIVES)}")
        download(str(url), named, sha256 or _recorded(named))
        archives = [named]
    for archive in archives:
        expected = sha256 or _recorded(archive)
        found = sha256_of(archive)
        if expected not in (None, found):
            raise XMCError(f"{archive}: SHA-256 is {found}, expected {expected}; delete it and get it again")
        log.info("unpacking %s", archive)
        unpack(archive, folder, layout.wanted(folder))
        _record(archive).write_text(f"{found}  {archive.name}\n")
    if named is not None and downloaded:
        named.unlink()


def _record(archive: Path) -> Path:
    """Where the SHA-256 is kept, as `sha256sum` writes it."""
    return archive.with_name(f"{archive.name}.sha256")


def _recorded(archive: Path) -> str | None:
    path = _record(archive)
    return path.read_text().partition(" ")[0] if path.is_file() else None
