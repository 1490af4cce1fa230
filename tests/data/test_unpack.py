import tarfile
import zipfile
from pathlib import Path

import pytest
from web import tar_gz, zipped

from xmc.data.unpack import unpack
from xmc.types import XMCError

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
        (tar_gz(FILES | {"../X.txt": b"evil"}), "'../X.txt' leads out of"),
        (tar_gz(FILES | {"a/../../evil": b"evil"}), "'a/../../evil' leads out of"),
        (tar_gz(FILES | {"/evil": b"evil"}), "'/evil' leads out of"),
        (tar_gz(FILES, member("Z.txt", tarfile.SYMTYPE, "/etc/passwd")), "'Z.txt' is neither a file nor a folder"),
        (tar_gz(FILES, member("Z.txt", tarfile.LNKTYPE, "../../evil")), "'Z.txt' is neither a file nor a folder"),
        (tar_gz(FILES, member("Z.txt", tarfile.CHRTYPE)), "'Z.txt' is neither a file nor a folder"),
        (tar_gz(FILES, member("Z.txt", tarfile.FIFOTYPE)), "'Z.txt' is neither a file nor a folder"),
        (tar_gz(FILES | {"other/X.txt": b""}), "holds X.txt twice, as xmc-base/set/X.txt and other/X.txt"),
        (zipped(FILES | {"../X.txt": b"evil"}), "'../X.txt' leads out of"),
        (zipped(FILES | {"..\\evil": b"evil"}), r"evil' leads out of"),
        (zipped(FILES | {"/evil": b"evil"}), "'/evil' leads out of"),
        (zipped(FILES | {"C:evil": b"evil"}), "'C:evil' leads out of"),
        (zipped(FILES | {zip_link("Z.txt"): b"/etc/passwd"}), "'Z.txt' is neither a file nor a folder"),
        (encrypted(), "xmc-base/set/X.txt is encrypted"),
        (tar_gz(FILES)[:-200], "damaged"),
        (tar_gz(FILES)[:-8] + b"12345678", "damaged"),
        (b"<html>Sign in</html>", "damaged"),
        (zipped(FILES)[:-200], "damaged"),
        (zipped(FILES).replace(b"text", b"tixt"), "damaged"),
    ],
    ids=lambda value: value if isinstance(value, str) else ("zip" if value.startswith(b"PK") else "tar"),
)
def test_refused_as_a_whole(tmp_path: Path, archive: bytes, told: str) -> None:
    path, folder = here(tmp_path, "set.zip" if archive.startswith(b"PK") else "set.tar.gz", archive)
    with pytest.raises(XMCError) as error:
        unpack(path, folder, NAMES)
    assert str(path) in str(error.value) and told in str(error.value)
    assert sorted(tmp_path.rglob("*")) == sorted([path, folder.parent, folder])
