import io
import random
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from web import tar_gz, zipped

from xmc.data.unpack import unpack
from xmc.errors import XMCError

FILES = {"xmc-base/set/X.txt": b"text\n" * 5000, "xmc-base/set/Y.npz": bytes(range(256)), "xmc-base/set/left": b"no"}
NAMES = ("X.txt", "Y.npz", "Z.txt")


def member(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zip_link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = 0o120777 << 16
    return info


def long_header(kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo("header")
    info.type, info.size = kind, (1 << 16) + 1
    return info


def sparse() -> bytes:
    """A member of 2^40 bytes of which the archive holds none, as GNU's tar writes it."""
    info = tarfile.TarInfo("Z.txt")
    info.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.realsize": str(1 << 40)}
    info.pax_headers |= {"GNU.sparse.numblocks": "1", "GNU.sparse.map": f"{1 << 40},0", "GNU.sparse.size": str(1 << 40)}
    return tar_gz(FILES, info)


def deflated(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return out.getvalue()


def encrypted() -> bytes:
    """As a zip marks it: the first bit of the flags, in the directory at the end."""
    content = bytearray(zipped(FILES))
    content[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


def here(tmp_path: Path, name: str, content: bytes) -> tuple[Path, Path]:
    """An archive, and the empty folder to unpack it into."""
    folder = tmp_path / "deep" / "folder"
    folder.mkdir(parents=True)
    (tmp_path / name).write_bytes(content)
    return tmp_path / name, folder


@pytest.mark.parametrize("name", ["set.tar.gz", "set.tgz", "set.zip"])
def test_the_files_that_are_asked_for(tmp_path: Path, name: str) -> None:
    content = (
        zipped({"xmc-base/": b"", **FILES}) if name.endswith("zip") else tar_gz(FILES, member("d", tarfile.DIRTYPE))
    )
    archive, folder = here(tmp_path, name, content)
    unpack(archive, folder, NAMES)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "X.txt": FILES["xmc-base/set/X.txt"],
        "Y.npz": FILES["xmc-base/set/Y.npz"],
    }


@pytest.mark.parametrize(
    ("archive", "told"),
    [
        (lambda: tar_gz(FILES | {"../X.txt": b"evil"}), "'../X.txt' leads out of"),
        (lambda: tar_gz(FILES | {"a/../../evil": b"evil"}), "'a/../../evil' leads out of"),
        (lambda: tar_gz(FILES | {"/evil": b"evil"}), "'/evil' leads out of"),
        (
            lambda: tar_gz(FILES, member("Z.txt", tarfile.SYMTYPE, "/etc/passwd")),
            "'Z.txt' is neither a file nor a folder",
        ),
        (
            lambda: tar_gz(FILES, member("Z.txt", tarfile.LNKTYPE, "../../evil")),
            "'Z.txt' is neither a file nor a folder",
        ),
        (lambda: tar_gz(FILES, member("Z.txt", tarfile.CHRTYPE)), "'Z.txt' is neither a file nor a folder"),
        (lambda: tar_gz(FILES, member("Z.txt", tarfile.FIFOTYPE)), "'Z.txt' is neither a file nor a folder"),
        (lambda: tar_gz(FILES | {"other/X.txt": b""}), "holds X.txt twice, as xmc-base/set/X.txt and other/X.txt"),
        (lambda: zipped(FILES | {"../X.txt": b"evil"}), "'../X.txt' leads out of"),
        (lambda: zipped(FILES | {"..\\evil": b"evil"}), r"evil' leads out of"),
        (lambda: zipped(FILES | {"/evil": b"evil"}), "'/evil' leads out of"),
        (lambda: zipped(FILES | {"C:evil": b"evil"}), "'C:evil' leads out of"),
        (lambda: zipped(FILES | {zip_link("Z.txt"): b"/etc/passwd"}), "'Z.txt' is neither a file nor a folder"),
        (sparse, "'Z.txt' is neither a file nor a folder"),
        (lambda: tar_gz(FILES | {"left": bytes(80 << 20)}), "unpacks to more than 64 MiB"),
        (lambda: tar_gz(FILES, long_header(tarfile.XHDTYPE)), "damaged (a header of 65,537 bytes)"),
        (lambda: tar_gz(FILES, long_header(tarfile.XGLTYPE)), "damaged (a header of 65,537 bytes)"),
        (lambda: tar_gz(FILES, long_header(tarfile.GNUTYPE_LONGNAME)), "damaged (a header of 65,537 bytes)"),
        (lambda: tar_gz(dict.fromkeys(map(str, range(10_001)), b"")), "has more than 10,000 members"),
        (lambda: zipped(dict.fromkeys(map(str, range(10_001)), b"")), "has more than 10,000 members"),
        (lambda: deflated(FILES | {"Z.txt": bytes(80 << 20)}), "unpacks to more than 64 MiB"),
        (encrypted, "xmc-base/set/X.txt is encrypted"),
        (lambda: tar_gz(FILES)[:-200], "damaged"),
        (lambda: tar_gz(FILES)[:-8] + b"12345678", "damaged"),
        (lambda: b"<html>Sign in</html>", "damaged"),
        (lambda: zipped(FILES)[:-200], "damaged"),
        (lambda: zipped(FILES).replace(b"text", b"tixt"), "damaged"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refused_as_a_whole(tmp_path: Path, archive: Callable[[], bytes], told: str) -> None:
    content = archive()
    path, folder = here(tmp_path, "set.zip" if content.startswith(b"PK") else "set.tar.gz", content)
    with pytest.raises(XMCError) as error:
        unpack(path, folder, NAMES)
    assert str(path) in str(error.value) and told in str(error.value)
    assert sorted(tmp_path.rglob("*")) == sorted([path, folder.parent, folder])


def test_mutated_archives_are_read_or_refused(tmp_path: Path) -> None:
    rng = random.Random(0)
    plain = {name: content for name, content in FILES.items() if len(content) < 1000} | {"X.txt": b"text\n" * 99}
    for trial in range(200):
        kind = rng.choice(["set.zip", "set.tar.gz"])
        content = bytearray((deflated if kind == "set.zip" else tar_gz)(plain))
        for _ in range(rng.randint(1, 4)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        folder = tmp_path / str(trial)
        folder.mkdir()
        (tmp_path / kind).write_bytes(content[: rng.choice([len(content), rng.randrange(len(content))])])
        try:
            unpack(tmp_path / kind, folder, NAMES)
        except XMCError as error:
            assert str(tmp_path / kind) in str(error) and not list(folder.iterdir())
        else:
            assert all(path.read_bytes() in plain.values() for path in folder.iterdir())
