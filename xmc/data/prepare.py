"""A published set on this disk: what is not in place is downloaded, checked and unpacked."""

import logging
import shutil
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from xmc.data.benchmark import Layout
from xmc.data.download import download, sha256_of
from xmc.data.files import listing
from xmc.data.unpack import ARCHIVES, is_leftover, temporary_folder, unpack
from xmc.errors import XMCError
from xmc.storage import home_expanded, locked, whole_file
from xmc.terminal import without_passwords

log = logging.getLogger(__name__)


def prepare(root: str | Path, layout: Layout, *, url: str | None, sha256: str | None, home: str) -> None:
    """The files of a set in the folder `root`, made if need be.

    Where they are in place nothing happens. Else the archives in the folder are unpacked or, where there is none, the
    one at `url`, which is deleted then. Nothing of them appears unless the set is complete. Another process that
    prepares the same folder is waited for. home: where a person finds the files.

    An archive must have the SHA-256 that is given or, without one, that `<archive>.sha256` tells, which is written
    when an archive is unpacked for the first time.

    Raises XMCError where files lack in the end, naming them, and for whatever cannot be had, checked or written.
    """
    folder = home_expanded(root)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if layout.missing(folder):
            with locked(folder, wait=True):
                for left in filter(is_leftover, folder.iterdir()):  # of a process that was killed
                    shutil.rmtree(left)
                if layout.missing(folder):
                    _fill(folder, layout, url, sha256, home)
                    return
        log.info("%s: every file is in place", folder)
    except OSError as error:
        raise XMCError(f"{folder}: cannot be prepared ({error}); give another with data.root=...") from None


def _fill(folder: Path, layout: Layout, url: str | None, sha256: str | None, home: str) -> None:
    archives = sorted(path for path in folder.iterdir() if path.name.endswith(ARCHIVES) and path.is_file())
    downloaded = None
    if url is not None and not archives:
        downloaded = folder / PurePosixPath(urlsplit(url).path).name
        if not downloaded.name.endswith(ARCHIVES):
            raise XMCError(
                f"data.benchmark.url={without_passwords(url)}: expected the address of an archive: "
                f"{', '.join(ARCHIVES)}"
            )
        download(url, downloaded, sha256 or _recorded(downloaded))
        archives = [downloaded]
    found = {archive: _checked(archive, sha256) for archive in archives}
    with temporary_folder(folder) as temporary:
        unpacked = Path(temporary)
        for archive in archives:
            log.info("unpacking %s", archive)
            unpack(archive, unpacked, layout.wanted(folder, unpacked))
        if missing := layout.missing(folder, unpacked):
            if downloaded is not None:
                downloaded.unlink()
            present = listing(path.name for path in folder.iterdir() if not path.name.startswith("."))
            names = ", ".join(archive.name for archive in archives)
            inside = f", and in {names}: {listing(path.name for path in unpacked.iterdir())}" if archives else ""
            raise XMCError(
                f"{folder} lacks {', '.join(group[0] for group in missing)}; it has: {present}{inside}. Put these "
                f"files, or the archive ({', '.join(ARCHIVES)}) that holds them, there and repeat the command; they "
                f"come from {home}"
            )
        for path in unpacked.iterdir():
            path.replace(folder / path.name)
    for archive, digest in found.items():
        with whole_file(_record(archive)) as out:
            out.write(f"{digest}  {archive.name}\n")
    if downloaded is not None:
        downloaded.unlink()


def _checked(archive: Path, sha256: str | None) -> str:
    """The SHA-256 of an archive, which is the one that is given or recorded."""
    expected, found = sha256 or _recorded(archive), sha256_of(archive)
    if expected not in (None, found):
        again = (
            "delete it and get it again" if sha256 else f"delete it and get it again, or {_record(archive)} to trust it"
        )
        raise XMCError(f"{archive}: SHA-256 is {found}, expected {expected}; {again}")
    return found


def _record(archive: Path) -> Path:
    """Where the SHA-256 is kept, as `sha256sum` writes it."""
    return archive.with_name(f"{archive.name}.sha256")


def _recorded(archive: Path) -> str | None:
    path = _record(archive)
    return path.read_text(errors="replace").partition(" ")[0] if path.is_file() else None
