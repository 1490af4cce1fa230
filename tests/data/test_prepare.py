import hashlib
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from web import Site, serving, tar_gz, zipped

from xmc.data.pecos import PecosData
from xmc.data.prepare import prepare
from xmc.data.repository import RepositoryData
from xmc.errors import XMCError

PECOS_FILES = {name: f"of {name}".encode() for name in ("X.trn.txt", "Y.trn.npz", "X.tst.txt", "Y.tst.npz")}
EXTRA = {"output-items.txt": b"a\nb\n"}
ARCHIVE = tar_gz({f"xmc-base/set/{name}": content for name, content in (PECOS_FILES | EXTRA).items()})
SHA256 = hashlib.sha256(ARCHIVE).hexdigest()
RECORD = f"{SHA256}  set.tar.gz\n"


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving({"base/set.tar.gz": ARCHIVE}) as site:
        yield site


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data" / "set"


@pytest.fixture
def prepared(site: Site, root: Path) -> Callable[..., dict[str, bytes]]:
    """Prepare the set; the files that are there afterwards."""

    def run(sha256: str | None = None, name: str = "base/set.tar.gz") -> dict[str, bytes]:
        prepare(root, PecosData.layout, url=site.url(name), sha256=sha256, home="http://home")
        return there(root)

    return run


def there(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in root.iterdir()}


def test_download_and_unpack(prepared: Callable[..., dict[str, bytes]]) -> None:
    assert prepared() == PECOS_FILES | EXTRA | {"set.tar.gz.sha256": RECORD.encode()}


def test_a_set_in_place_is_left_alone(
    prepared: Callable[..., dict[str, bytes]], site: Site, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root.mkdir(parents=True)
    for name, content in PECOS_FILES.items():
        (root / name).write_bytes(content)
    with caplog.at_level(logging.INFO):
        assert prepared() == PECOS_FILES
    assert site.asked == []
    assert "every file is in place" in caplog.text


def test_an_archive_in_place_is_unpacked_and_kept(
    prepared: Callable[..., dict[str, bytes]], site: Site, root: Path
) -> None:
    root.mkdir(parents=True)
    (root / "by-hand.tgz").write_bytes(ARCHIVE)
    (root / "X.trn.txt").write_bytes(b"the user's own")
    after = prepared()
    assert after["X.trn.txt"] == b"the user's own"
    assert after["by-hand.tgz"] == ARCHIVE
    assert set(after) == {*PECOS_FILES, *EXTRA, "by-hand.tgz", "by-hand.tgz.sha256"}
    assert site.asked == []


def test_trust_on_first_use(prepared: Callable[..., dict[str, bytes]], site: Site, root: Path) -> None:
    prepared()
    site.files["base/set.tar.gz"] = tar_gz(PECOS_FILES)
    (root / "X.trn.txt").unlink()
    with pytest.raises(XMCError, match=f"expected {SHA256}.*set.tar.gz.sha256"):
        prepared()
    (root / "set.tar.gz.sha256").unlink()
    assert prepared()["X.trn.txt"] == PECOS_FILES["X.trn.txt"]


def test_a_damaged_archive_is_not_trusted(prepared: Callable[..., dict[str, bytes]], site: Site, root: Path) -> None:
    site.files["base/set.tar.gz"] = ARCHIVE[:-20]
    with pytest.raises(XMCError, match="damaged"):
        prepared()
    assert set(there(root)) == {"set.tar.gz"}
    site.files["base/set.tar.gz"] = ARCHIVE
    (root / "set.tar.gz").unlink()
    assert prepared() == PECOS_FILES | EXTRA | {"set.tar.gz.sha256": RECORD.encode()}


@pytest.mark.parametrize("by_hand", ["set.tar.gz", "other.tgz", None])
def test_the_digest_that_is_given(prepared: Callable[..., dict[str, bytes]], root: Path, by_hand: str | None) -> None:
    root.mkdir(parents=True)
    if by_hand:
        (root / by_hand).write_bytes(ARCHIVE)
    with pytest.raises(XMCError, match=f"SHA-256 is {SHA256}, expected {'0' * 64}"):
        prepared(sha256="0" * 64)
    assert set(there(root)) == ({by_hand} if by_hand else set())
    assert PECOS_FILES.items() <= prepared(sha256=SHA256).items()


def test_an_archive_without_the_files(prepared: Callable[..., dict[str, bytes]], site: Site, root: Path) -> None:
    site.files["base/set.tar.gz"] = tar_gz({name: PECOS_FILES[name] for name in ("X.trn.txt", "Y.trn.npz")})
    with pytest.raises(XMCError) as error:
        prepared()
    lacks = f"{root} lacks X.tst.txt, Y.tst.npz; it has: nothing, and in set.tar.gz: X.trn.txt, Y.trn.npz. Put these"
    assert lacks in str(error.value)
    assert there(root) == {}, "what is not complete is neither trusted nor mixed with what comes later"
    site.files["base/set.tar.gz"] = ARCHIVE
    assert prepared() == PECOS_FILES | EXTRA | {"set.tar.gz.sha256": RECORD.encode()}


def test_an_address_of_no_archive(prepared: Callable[..., dict[str, bytes]], site: Site) -> None:
    with pytest.raises(XMCError, match=r"url=.*page.html: expected the address of an archive: .tar.gz, .tgz, .zip"):
        prepared(name="page.html")
    assert site.asked == []


def test_a_root_that_is_a_file(prepared: Callable[..., dict[str, bytes]], root: Path) -> None:
    root.parent.mkdir()
    root.write_text("")
    with pytest.raises(XMCError, match=r"cannot be prepared .*data.root"):
        prepared()


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_set_without_an_address(root: Path, suffix: str) -> None:
    def run() -> None:
        prepare(root, RepositoryData.layout, url=None, sha256=None, home="http://home")

    with pytest.raises(XMCError, match=r"lacks trn.json, tst.json, lbl.json; it has: nothing.*from http://home"):
        run()
    files = {f"{name}.json{suffix}": name.encode() for name in ("trn", "tst", "lbl")}
    filters = {f"{name}_filter_labels.txt": b"0 0\n" for name in ("trn", "tst")}
    (root / "raw.zip").write_bytes(zipped({f"LF-Set/{name}": content for name, content in files.items()}))
    (root / "rest.zip").write_bytes(zipped(filters))
    run()
    assert (files | filters).items() <= there(root).items()


def test_two_at_once(prepared: Callable[..., dict[str, bytes]], site: Site) -> None:
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: prepared(), range(4)))
    whole = PECOS_FILES | EXTRA | {"set.tar.gz.sha256": RECORD.encode()}
    assert all(whole.items() <= result.items() for result in results)
    assert len(site.asked) == 1


def test_what_a_killed_process_left_is_swept(prepared: Callable[..., dict[str, bytes]], root: Path) -> None:
    (root / ".unpack-1234_abc").mkdir(parents=True)
    (root / ".unpack-1234_abc" / "X.trn.txt").write_text("half")
    assert prepared() == PECOS_FILES | EXTRA | {"set.tar.gz.sha256": RECORD.encode()}


def test_offline_it_says_what_to_do_by_hand(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def prepared() -> None:
        prepare(root, PecosData.layout, url="http://set.invalid/base/set.tar.gz", sha256=None, home="http://home")

    with pytest.raises(XMCError, match=rf"cannot be reached \(.*\). Put set.tar.gz into {root} by hand") as error:
        prepared()
    assert "\n" not in str(error.value)
    root.mkdir(parents=True, exist_ok=True)
    (root / "set.tar.gz").write_bytes(ARCHIVE)
    prepared()
    assert PECOS_FILES.items() <= there(root).items()
