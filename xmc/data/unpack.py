"""Files out of an archive that somebody else made."""

import gzip
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path, PureWindowsPath
from typing import IO

from xmc.types import XMCError

ARCHIVES = (".tar.gz", ".tgz", ".zip")
_BLOCK = 1 << 20


def unpack(archive: Path, folder: Path, names: Collection[str]) -> None:
    """The files of a .tar.gz, .tgz or .zip that have one of these names, wherever they lie in it, as files of `folder`.

    They appear there once the whole archive has been read and every member of it, also of those left inside, is a
    file or a folder below where the archive is unpacked.

    Raises XMCError for an archive that has any other member or one of the names twice, and for a damaged one.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unpack-") as temporary:
        found: dict[str, str] = {}
        try:
            for member, stream in _zip(archive) if archive.suffix == ".zip" else _tar(archive):
                name = PureWindowsPath(member).name  # knows both kinds of slashes
                if name not in names:
                    continue
                if name in found:
                    raise XMCError(f"{archive} holds {name} twice, as {found[name]} and {member}; unpack one")
                found[name] = member
                with open(Path(temporary, name), "xb") as out:
                    shutil.copyfileobj(stream, out, _BLOCK)
        except (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise XMCError(f"{archive}: damaged ({error}); delete it and get it again") from None
        for name in found:
            Path(temporary, name).replace(folder / name)


def _tar(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with gzip.open(archive) as stream:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                _check(archive, member.name, member.isreg() or member.isdir())
                if (content := tar.extractfile(member)) is not None:
                    yield member.name, content
        while stream.read(_BLOCK):  # to the checksum at the end
            pass


def _zip(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(archive) as packed:
        for member in packed.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            _check(archive, member.filename, kind in (0, stat.S_IFREG, stat.S_IFDIR))
            if member.flag_bits & 1:
                raise XMCError(f"{archive}: {member.filename} is encrypted; expected an archive without a password")
            if not member.is_dir():
                with packed.open(member) as content:
                    yield member.filename, content


def _check(archive: Path, name: str, ordinary: bool) -> None:
    path = PureWindowsPath(name)
    if path.drive or path.root or ".." in path.parts:
        raise XMCError(f"{archive}: member {name!r} leads out of the folder it is unpacked into; nothing is unpacked")
    if not ordinary:
        raise XMCError(f"{archive}: member {name!r} is neither a file nor a folder; nothing is unpacked")
