"""Files out of an archive that somebody else made."""

import errno
import gzip
import lzma
import os
import re
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path, PureWindowsPath
from typing import IO, Any

from xmc.errors import XMCError, said

ARCHIVES = (".tar.gz", ".tgz", ".zip")
_BLOCK = 1 << 20
_MOST_MEMBERS = 10_000
_MOST_BYTES = 256 << 30  # unpacked; amazon-3m, the largest set, has some 3 GiB
_MOST_RATIO = 100  # of bytes unpacked to bytes of the archive; texts have 3 to 10
_SMALL = 64 << 20  # bytes unpacked that are never too many
_MOST_HEADER = 1 << 16  # bytes of a long name or of the extended attributes of a member

_HEADERS = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
_DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, ValueError, NotImplementedError, RuntimeError),  # of what zipfile and tarfile do not expect
)


def temporary_folder(folder: Path) -> "tempfile.TemporaryDirectory[str]":
    """Within `folder`, for what is not whole yet."""
    return tempfile.TemporaryDirectory(dir=folder, prefix=".unpack-")


def is_leftover(path: Path) -> bool:
    """Whether it is a `temporary_folder`, by its name."""
    return re.fullmatch(r"\.unpack-[a-z0-9_]{8}", path.name) is not None and path.is_dir() and not path.is_symlink()


def unpack(archive: Path, folder: Path, names: Collection[str]) -> None:
    """The files of a .tar.gz, .tgz or .zip that have one of these names, wherever they lie in it, as files of `folder`.

    They appear there once the whole archive has been read and every member of it, also of those left inside, is a
    file or a folder below where the archive is unpacked.

    Raises XMCError for an archive that has any other member or one of the names twice, that unpacks to more than any
    set has, and for a damaged one.
    """
    with temporary_folder(folder) as temporary:
        found: dict[str, str] = {}
        budget = _Budget(archive)
        try:
            for member, stream in _zip(archive) if archive.suffix == ".zip" else _tar(archive, budget):
                name = PureWindowsPath(member).name  # knows both kinds of slashes
                if name not in names:
                    continue
                if name in found:
                    raise XMCError(f"{archive} holds {name} twice, as {found[name]} and {member}; unpack one")
                found[name] = member
                with open(Path(temporary, name), "xb") as out:
                    while block := stream.read(_BLOCK):
                        if archive.suffix == ".zip":
                            budget.spend(len(block))
                        out.write(block)
                    out.flush()
                    os.fsync(out.fileno())
        except (OSError, *_DAMAGED) as error:
            if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # these come of what is read
                raise
            raise XMCError(f"{archive}: damaged ({said(error)}); delete it and get it again") from None
        for name in found:
            Path(temporary, name).replace(folder / name)


class _Budget:
    """The bytes that an archive may still unpack to."""

    def __init__(self, archive: Path) -> None:
        self._archive = archive
        self._left = self._most = min(_MOST_BYTES, max(_SMALL, _MOST_RATIO * archive.stat().st_size))

    def spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise XMCError(
                f"{self._archive}: unpacks to more than {self._most >> 20:,} MiB, far more than an archive of texts of "
                "its size; nothing is unpacked. If you trust it, unpack it by hand"
            )


class _Counted:
    """What an archive is compressed from, all of it: also headers, and members that stay inside."""

    def __init__(self, stream: gzip.GzipFile, budget: _Budget) -> None:
        self._stream, self._budget = stream, budget

    def read(self, size: int) -> bytes:
        block = self._stream.read(size)
        self._budget.spend(len(block))
        return block


class _Member(tarfile.TarInfo):
    """A member whose headers are no longer than names and attributes can be: tarfile holds them in memory."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _HEADERS and self.size > _MOST_HEADER:
            raise tarfile.ReadError(f"a header of {self.size:,} bytes")
        member: tarfile.TarInfo = super()._proc_member(tar)  # type: ignore[misc]
        return member


def _tar(archive: Path, budget: _Budget) -> Iterator[tuple[str, IO[bytes]]]:
    with gzip.open(archive) as packed:
        stream: Any = _Counted(packed, budget)
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Member) as tar:
            for place, member in enumerate(tar):
                ordinary = (member.isreg() and not member.issparse()) or member.isdir()
                _check(archive, place, member.name, ordinary)
                if (content := tar.extractfile(member)) is not None:
                    yield member.name, content
        while stream.read(_BLOCK):  # to the checksum at the end
            pass


def _zip(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(archive) as packed:
        for place, member in enumerate(packed.infolist()):
            kind = stat.S_IFMT(member.external_attr >> 16)
            _check(archive, place, member.filename, kind in (0, stat.S_IFREG, stat.S_IFDIR))
            if member.flag_bits & 1:
                raise XMCError(f"{archive}: {member.filename} is encrypted; expected an archive without a password")
            if not member.is_dir():
                with packed.open(member) as content:
                    yield member.filename, content


def _check(archive: Path, place: int, name: str, ordinary: bool) -> None:
    path = PureWindowsPath(name)
    if path.drive or path.root or ".." in path.parts:
        raise XMCError(f"{archive}: member {name!r} leads out of the folder it is unpacked into; nothing is unpacked")
    if not ordinary:
        raise XMCError(f"{archive}: member {name!r} is neither a file nor a folder; nothing is unpacked")
    if place == _MOST_MEMBERS:
        raise XMCError(f"{archive} has more than {_MOST_MEMBERS:,} members, and a set has a few; nothing is unpacked")
