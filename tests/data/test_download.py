import hashlib
import io
import random
import threading
import urllib.request
from collections.abc import Iterator
from functools import partial
from http.client import HTTPMessage
from pathlib import Path

import pytest
from web import Site, serving

from xmc.data.download import _Redirects, download
from xmc.errors import XMCError

CONTENT = random.Random(0).randbytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def site() -> Iterator[Site]:
    with serving({"set.zip": CONTENT}) as site:
        yield site


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that would have been waited."""
    seconds: list[float] = []
    monkeypatch.setattr("xmc.data.download.sleep", seconds.append)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return seconds


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "set.zip"


def whole(target: Path) -> bool:
    """The file is there as it was served, and nothing else is."""
    return target.read_bytes() == CONTENT and list(target.parent.iterdir()) == [target]


def test_a_file(site: Site, target: Path) -> None:
    download(site.url("set.zip"), target, SHA256)
    assert whole(target)
    assert site.asked == [("set.zip", None)]


def test_broken_transfers_go_on_where_they_broke_off(site: Site, target: Path) -> None:
    site.cut = [1_000_000, 500_000]
    download(site.url("set.zip"), target)
    assert whole(target)
    assert [asked for _, asked in site.asked] == [None, "bytes=1000000-", "bytes=1500000-"]


def test_a_later_call_goes_on_too(site: Site, target: Path) -> None:
    site.cut = [2_000_000, 0, 0, 0, 0, 0]
    with pytest.raises(XMCError, match=r"broke off after 2,000,000 of 3,000,000 bytes; gave up after 5 attempts"):
        download(site.url("set.zip"), target)
    assert not target.exists()
    download(site.url("set.zip"), target)
    assert whole(target)
    assert {asked for _, asked in site.asked} == {None, "bytes=2000000-"}


def test_waits_grow_while_nothing_new_comes(site: Site, target: Path, waits: list[float]) -> None:
    site.status = [503, 429, 500]
    download(site.url("set.zip"), target)
    assert whole(target)
    assert waits == [2, 4, 8]


def test_without_ranges_it_starts_over(site: Site, target: Path) -> None:
    site.ranges, site.cut = False, [1_000_000]
    download(site.url("set.zip"), target)
    assert whole(target)


def test_without_ranges_and_always_broken_it_ends(site: Site, target: Path) -> None:
    site.ranges, site.cut = False, [1_000_000, 500_000] * 50
    with pytest.raises(XMCError, match="gave up after 5 attempts"):
        download(site.url("set.zip"), target)
    assert len(site.asked) == 6


def test_another_range_than_asked_for_starts_over(site: Site, target: Path) -> None:
    site.shift, site.cut = 10, [1_000_000]
    download(site.url("set.zip"), target)
    assert whole(target)
    assert [asked for _, asked in site.asked] == [None, "bytes=1000000-", None]


def test_another_version_starts_over(site: Site, target: Path) -> None:
    site.cut = [1_000_000, 0, 0, 0, 0, 0]
    with pytest.raises(XMCError):
        download(site.url("set.zip"), target)
    site.files["set.zip"], site.version = CONTENT[::-1], "2"
    download(site.url("set.zip"), target)
    assert target.read_bytes() == CONTENT[::-1]


def test_a_part_longer_than_the_file_starts_over(site: Site, target: Path) -> None:
    target.with_name("set.zip.part").write_bytes(CONTENT + b"more")
    download(site.url("set.zip"), target)
    assert whole(target)


def test_a_part_that_is_whole_already(site: Site, target: Path) -> None:
    target.with_name("set.zip.part").write_bytes(CONTENT)
    download(site.url("set.zip"), target)
    assert whole(target)


@pytest.mark.parametrize("length", [lambda size: size + 1000, lambda size: None], ids=["too large", "none"])
def test_content_length_that_says_nothing(site: Site, target: Path, length: object) -> None:
    site.length = length  # type: ignore[assignment]
    download(site.url("set.zip"), target, SHA256)
    assert whole(target)


def test_content_length_that_is_too_small(site: Site, target: Path) -> None:
    site.length = lambda size: size - 1000
    with pytest.raises(XMCError, match=f"expected {SHA256}; the download is deleted"):
        download(site.url("set.zip"), target, SHA256)
    assert not list(target.parent.iterdir())


def test_wrong_checksum(site: Site, target: Path) -> None:
    with pytest.raises(XMCError, match=f"SHA-256 is {SHA256}, expected {'0' * 64}"):
        download(site.url("set.zip"), target, "0" * 64)
    assert not list(target.parent.iterdir())


@pytest.mark.parametrize("status", [404, 403, 410])
def test_a_refusal_is_told_at_once(site: Site, target: Path, status: int) -> None:
    site.status = [status]
    with pytest.raises(XMCError, match=rf"set.zip: HTTP {status} .*data.benchmark.url"):
        download(site.url("set.zip"), target)
    assert len(site.asked) == 1


def test_nobody_there(target: Path) -> None:
    with serving({}) as gone:
        url = gone.url("set.zip")
    with pytest.raises(XMCError, match=rf"refused\). Put set.zip into {target.parent} by hand.* repeat the command"):
        download(url, target)


def test_no_connection_is_told_soon(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr("http.client.HTTPConnection.connect", lambda self: release.wait())
    monkeypatch.setattr("xmc.data.download._REACHED", 0.1)
    with pytest.raises(XMCError, match=r"cannot be reached \(no connection within 0.1 s\)"):
        download("http://host/set.zip", target)
    release.set()


@pytest.mark.parametrize("what", ["content", "headers"])
def test_a_trickle_is_no_progress(site: Site, target: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setattr("xmc.data.download._TIMEOUT", 0.2)
    monkeypatch.setattr("xmc.data.download._ANSWERED", 0.2)
    site.trickle = what
    with pytest.raises(XMCError, match=r"gave up after 5 attempts"):
        download(site.url("set.zip"), target)
    assert len(site.asked) == 5


@pytest.mark.parametrize("leads_to", ["ftp://127.0.0.1/x", "file:///etc/passwd", "data:,x", "gopher://host"])
def test_redirects_to_the_web_alone(site: Site, target: Path, leads_to: str) -> None:
    site.redirects["set.zip"] = leads_to
    with pytest.raises(XMCError, match=f"set.zip.*{leads_to}"):
        download(site.url("set.zip"), target)
    assert len(site.asked) == 1 and not target.exists()


def test_no_redirect_from_https_to_http() -> None:
    request = urllib.request.Request("https://host/set.zip")
    follow = partial(_Redirects().redirect_request, request, io.BytesIO(), 302, "Found", HTTPMessage())
    with pytest.raises(XMCError, match=r"leads to http://host/set\.zip, which is not https any more"):
        follow("http://host/set.zip")
    assert follow("https://other/set.zip").full_url == "https://other/set.zip"


def test_user_and_password(site: Site, target: Path) -> None:
    site.files["other.zip"] = CONTENT
    with serving({}) as first:
        first.redirects["set.zip"] = site.url("other.zip")
        download(first.url("set.zip").replace("//", "//me:se%40cret@"), target, SHA256)
        assert first.logins == ["Basic bWU6c2VAY3JldA=="]
    assert whole(target) and site.logins == [None]
    with pytest.raises(XMCError) as error:
        download(site.url("missing.zip").replace("//", "//me:secret@"), target)
    assert "HTTP 404" in str(error.value) and "secret" not in str(error.value)


@pytest.mark.parametrize(
    "url", ["set.zip", "ftp://host/set.zip", "file:///set.zip", "http://", "http://h:x/y", "http://[::1/x"]
)
def test_what_is_no_address(target: Path, url: str) -> None:
    with pytest.raises(XMCError, match="expected an address such as https://host/file"):
        download(url, target)
