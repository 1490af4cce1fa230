"""A file from the web: gone on with where it broke off, checked, and renamed into place once it is whole."""

import hashlib
import re
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from time import sleep

from tqdm import tqdm

from xmc.types import XMCError

_BLOCK = 1 << 20
_TIMEOUT = 60  # seconds without a byte
_ATTEMPTS = 5  # in a row that bring nothing new
_PASSING = (408, 429)  # with 5xx, the answers that may be another one a little later


def download(url: str, target: Path, sha256: str | None = None) -> None:
    """The file at `url` (http or https) as `target`, in a folder that exists.

    What has arrived stays in `<target>.part`; a broken transfer, of this call or of an earlier one, goes on from there
    by HTTP Range, and starts over where the server has no ranges or another file by now.

    Raises XMCError where the server refuses, does not deliver, or delivers what has not that SHA-256.
    """
    part = target.with_name(f"{target.name}.part")
    furthest, failures = _size(part), 0
    while (problem := _advance(url, part)) is not None:
        failures = 0 if _size(part) > furthest else failures + 1
        furthest = max(furthest, _size(part))
        if failures == _ATTEMPTS:
            raise XMCError(
                f"{url}: {problem}; gave up after {failures} attempts that brought nothing new. "
                f"The same command goes on with the {_size(part):,} bytes in {part}"
            )
        sleep(2**failures)
    if sha256 is not None and (found := sha256_of(part)) != sha256:
        part.unlink()
        _validator(part).unlink(missing_ok=True)
        raise XMCError(
            f"{url}: SHA-256 is {found}, expected {sha256}; the download is deleted. If it is so again, the file "
            f"at the source is another one: see {target.name}.sha256 or data.benchmark.sha256, whichever there is"
        )
    part.replace(target)
    _validator(part).unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _advance(url: str, part: Path) -> str | None:
    """One request for what is missing. None: the file is whole; else what went wrong."""
    have = _size(part)
    headers = {"User-Agent": "xmc"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if _validator(part).is_file():
            headers["If-Range"] = _validator(part).read_text()
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        return _refused(url, part, error)
    except (OSError, HTTPException) as error:
        return str(error) or type(error).__name__
    with response:
        return _receive(response, part)


def _refused(url: str, part: Path, error: urllib.error.HTTPError) -> str | None:
    """An answer that is an error: None where it says that the file was whole before."""
    if error.code == 416:
        if error.headers.get("Content-Range") == f"bytes */{_size(part)}":
            return None
        part.unlink(missing_ok=True)
    elif error.code < 500 and error.code not in _PASSING:
        raise XMCError(
            f"{url}: HTTP {error.code} {error.reason}; expected the file. Give another address with "
            f"data.benchmark.url=..., or put the file into {part.parent} yourself"
        )
    return f"HTTP {error.code} {error.reason}"


def _receive(response: HTTPResponse, part: Path) -> str | None:
    have = 0
    length = response.headers.get("Content-Length")
    total = int(length) if length and length.isdigit() else None
    if response.status == 206:
        place = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        have = _size(part)
        if place is None or int(place[1]) != have:
            part.unlink()
            return f"asked for byte {have} and what follows, got {response.headers.get('Content-Range')}"
        total = None if place[2] == "*" else int(place[2])
    else:
        _remember(response, part)
    bar = tqdm(total=total, initial=have, desc=part.stem, unit="B", unit_scale=True, disable=None)
    with bar, open(part, "ab" if have else "wb") as out:
        while True:
            try:
                block = response.read(_BLOCK)
            except (OSError, HTTPException) as error:
                return f"broke off after {out.tell():,} bytes ({error})"
            if not block:
                break
            out.write(block)
            bar.update(len(block))
        size = out.tell()
    return None if total is None or size == total else f"broke off after {size:,} of {total:,} bytes"


def _remember(response: HTTPResponse, part: Path) -> None:
    """What tells this version of the file from the next, for the request that goes on with it."""
    etag = response.headers.get("ETag", "")
    version = etag if etag.startswith('"') else response.headers.get("Last-Modified")
    if version:
        _validator(part).write_text(version)
    else:
        _validator(part).unlink(missing_ok=True)


def _validator(part: Path) -> Path:
    return part.with_name(f"{part.name}.version")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
