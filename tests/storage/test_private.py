import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from xmc.storage import private_folder, user_cache

OTHER = 54321  # a user and a group that are not ours
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture(autouse=True)
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def test_made_for_this_user_alone(tmp_path: Path) -> None:
    made = private_folder(tmp_path / "cache" / "xmc")
    assert made.is_dir()
    assert [folder.stat().st_mode & 0o777 for folder in (made, made.parent)] == [0o700, 0o700]
    assert private_folder(made) == made


@pytest.mark.parametrize("mode", [0o755, 0o500, 0o750])
def test_others_may_look(tmp_path: Path, mode: int) -> None:
    (tmp_path / "cache").mkdir(mode)
    assert private_folder(tmp_path / "cache") == tmp_path / "cache"


@pytest.mark.parametrize("mode", [0o777, 0o722, 0o1777])
def test_a_folder_that_others_may_write_to(tmp_path: Path, mode: int) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(mode)
    with pytest.raises(PermissionError, match=rf"cache may be written by others \(mode {mode:o}\)"):
        private_folder(tmp_path / "cache")


def test_a_folder_in_which_others_may_replace_it(tmp_path: Path) -> None:
    above = tmp_path / "above"
    (above / "cache").mkdir(0o700, parents=True)
    above.chmod(0o777)
    with pytest.raises(PermissionError, match="above may be written by others"):
        private_folder(above / "cache")
    above.chmod(0o1777)
    assert private_folder(above / "cache") == above / "cache"


def test_where_a_symlink_leads(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(0o777)
    (tmp_path / "link").symlink_to(tmp_path / "open" / "cache")
    with pytest.raises(PermissionError, match="open may be written by others"):
        private_folder(tmp_path / "link")


@AS_ROOT
@pytest.mark.parametrize("owned", ["cache", "cache/xmc"])
def test_another_owner(tmp_path: Path, owned: str) -> None:
    private_folder(tmp_path / "cache" / "xmc")
    os.chown(tmp_path / owned, OTHER, OTHER)
    with pytest.raises(PermissionError, match=f"{owned} belongs to another user \\({OTHER}\\)"):
        private_folder(tmp_path / "cache" / "xmc")


@AS_ROOT
def test_a_group_of_the_user_alone(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir(0o770)
    (tmp_path / "cache").chmod(0o770)
    assert private_folder(tmp_path / "cache") == tmp_path / "cache"  # root is alone in the group root
    os.chown(tmp_path / "cache", -1, OTHER)
    with pytest.raises(PermissionError, match="may be written by others"):
        private_folder(tmp_path / "cache")


def test_no_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_cache() == tmp_path / ".cache"
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda _: (_ for _ in ()).throw(KeyError))
    assert user_cache() is None
