"""The digests of a saved model's files, kept in its card: what was damaged since, if only by a bit, is not loaded.

They guard against accidents. Who changes a model on purpose can make them anew, so that its parts are checked first.
"""

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import xxhash

from xmc.errors import XMCError
from xmc.storage import digest, read_json

_SEAL = ("files", "digest")


def sealed(card: dict[str, Any], folder: Path, files: Iterable[Path]) -> dict[str, Any]:
    """The card with the digests of these files of the folder, and of itself."""
    card = {key: value for key, value in card.items() if key not in _SEAL}
    card["files"] = {path.relative_to(folder).as_posix(): digest(path) for path in sorted(files)}
    return card | {"digest": _digest_of(card)}


@contextmanager
def seal_checked(path: Path) -> Iterator[None]:
    """Look, beside the body that reads these files, whether the card at `path` and all that it names are as saved.

    A card without digests, as it was before there were any, is not checked.

    Raises:
        XMCError: a file is not what was saved; raised after the body.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:
        checked = pool.submit(_check, path)
        yield
        checked.result()


def _check(path: Path) -> None:
    card = read_json(path)
    files = card.get("files", {})
    if missing := [name for name in files if not (path.parent / name).is_file()]:
        raise XMCError(f"{path.parent} is not whole: {', '.join(missing)} is missing; copy the model again")
    changed = [] if card.get("digest") in (None, _digest_of(card)) else [path]
    changed += [path.parent / name for name, saved in files.items() if digest(path.parent / name) != saved]
    if changed:
        raise XMCError(
            f"{changed[0]} is not what was saved: it is damaged, or was changed since; copy the model again, or take "
            f'"files" and "digest" out of {path} to use it as it is'
        )


def _digest_of(card: dict[str, Any]) -> str:
    rest = {key: value for key, value in card.items() if key != "digest"}
    return xxhash.xxh3_128(json.dumps(rest, sort_keys=True).encode()).hexdigest()
