"""Which files hold the documents of each split."""

import re
from collections.abc import Callable, Mapping, Sequence
from glob import glob
from pathlib import Path

from xmc.data.files import COMPRESSIONS, file, format_of, listing, within
from xmc.errors import XMCError

SPLITS = {"train": ("train",), "dev": ("dev", "validation", "valid", "val"), "test": ("test",)}
"""Each split, and the names that people give to its files."""

_SHARD = re.compile(r"(.+)-([0-9]+)-of-([0-9]+)")


def split_files(
    folder: Path,
    files: Mapping[str, str],
    formats: Sequence[str],
    is_of: Callable[[str, str], bool] = str.__eq__,
    *,
    is_split: Callable[[Path], bool] = lambda folder: False,
) -> dict[str, tuple[Path, ...]]:
    """The files of each split, in order: as `files` says, else those that are named after it, in one of the formats.

    `files` may have patterns such as `part-*.jsonl`. Without it, a split is one file, or shards such as
    `train-00000-of-00002.parquet`, of which none may lack. is_of: whether a name, up to its first dot, is that of a
    split. is_split: whether a folder is a split, as a file is.
    """
    found = {}
    for split, names in SPLITS.items():
        if split in files:
            found[split] = _given(folder, split, files[split], is_split)
        elif named := _named(folder, split, names, formats, is_of, is_split):
            found[split] = named
    if "train" not in found:
        present = listing(path.name for path in folder.iterdir())
        raise XMCError(
            f"{folder} has no train.{{{','.join(formats)}}}, plain or .{'/.'.join(COMPRESSIONS)}; it has: {present}. "
            "Set data.files.train"
        )
    return found


def _given(folder: Path, split: str, name: str, is_split: Callable[[Path], bool]) -> tuple[Path, ...]:
    if not re.search(r"[*?[]", name) or (folder / name).exists():
        path = within(folder, name)
        return (path if is_split(path) else file(path),)
    matching = [folder / match for match in glob(name, root_dir=folder)]
    found = [path for path in matching if path.is_file() or is_split(path)]
    if not found:
        present = listing(path.name for path in folder.iterdir())
        raise XMCError(f"data.files.{split}={name}: no such file in {folder}; it has: {present}")
    return tuple(sorted(found, key=_by_number))


def _named(
    folder: Path,
    split: str,
    names: Sequence[str],
    formats: Sequence[str],
    is_of: Callable[[str, str], bool],
    is_split: Callable[[Path], bool],
) -> tuple[Path, ...] | None:
    """The one file, or the one set of shards, whose name is of the split; None where there is none."""
    found: dict[str, list[Path]] = {}
    totals: dict[str, int] = {}
    for path in folder.iterdir():
        stem, dot, suffixes = path.name.partition(".")
        shard = _SHARD.fullmatch(stem)
        of_split = any(is_of(shard[1] if shard else stem, name) for name in names)
        if of_split and (format_of(path, formats) or is_split(path)):
            pattern = f"{shard[1]}-*-of-{shard[3]}{dot}{suffixes}" if shard else path.name
            found.setdefault(pattern, []).append(path)
            totals[pattern] = int(shard[3]) if shard else 1
    if len(found) > 1:
        given = sorted(found)
        raise XMCError(f"{folder} has {' and '.join(given)}; say which one is {split}: data.files.{split}={given[0]}")
    for pattern, paths in found.items():
        if len(paths) != totals[pattern]:
            raise XMCError(
                f"{folder} has {len(paths)} of the {totals[pattern]} files {pattern}: "
                f"{listing(path.name for path in paths)}; get the others, or take these alone with "
                f"data.files.{split}={pattern}"
            )
        return tuple(sorted(paths, key=_by_number))
    return None


def _by_number(path: Path) -> list[str | int]:
    """`part-2` before `part-10`."""
    return [int(part) if place % 2 else part for place, part in enumerate(re.split(r"([0-9]+)", str(path)))]
