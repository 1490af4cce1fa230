"""Texts to token ids, once: an Arrow cache on disk for each split, tokenizer and length."""

import hashlib
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from xmc.data.cache import arrow_rows, cached
from xmc.data.corpus import ArrowTexts, Split
from xmc.endings import undisturbed
from xmc.errors import XMCError
from xmc.strings import Strings
from xmc.tokenizer import Tokenizer

if TYPE_CHECKING:
    from datasets import Dataset

_FORMAT = "2"  # of the cache
_TYPES = {"input_ids": "int32", "values": "float32"}


def tokenize(
    split: Split, tokenizer: Tokenizer, max_length: int, cache_dir: str | Path, processes: int = 1
) -> "Dataset":
    """Token ids of each document of the split: column `input_ids`, int32 lists of at most `max_length`.

    A tokenizer of sparse features gives their `values` besides, float32 lists. Special tokens are those of the
    tokenizer. The cache lies in `cache_dir` under a hash of the split, the tokenizer's content and `max_length`. One
    process uses all cores where the tokenizer is a fast one; more processes serve the others. Parts that were joined
    have each their own, so that none is read twice.
    """
    if parts := [part for part in split.parts if len(part)]:
        with undisturbed():
            from datasets import concatenate_datasets

        return concatenate_datasets([tokenize(part, tokenizer, max_length, cache_dir, processes) for part in parts])
    special = tokenizer.num_special
    if max_length <= special:
        raise XMCError(f"max_length {max_length} has no room for text beside {special} special tokens; raise it")
    digest = hashlib.blake2b(digest_size=16)
    for part in (_FORMAT, split.fingerprint, tokenizer.fingerprint, str(max_length)):
        digest.update(part.encode())
    return cached(
        Path(cache_dir) / f"tokens-{digest.hexdigest()}",
        lambda folder: _write(split, tokenizer, max_length, folder, max(1, min(processes, len(split)))),
        arrow_rows,
    )


def _write(split: Split, tokenizer: Tokenizer, max_length: int, folder: Path, processes: int) -> None:
    with undisturbed():
        from datasets import Dataset, Features, Sequence, Value

    texts = (
        split.texts.dataset
        if isinstance(split.texts, ArrowTexts)
        else Dataset(pa.table({"text": Strings(split.texts).column}))
    )
    columns = ["input_ids", "values"] if tokenizer.has_values else ["input_ids"]
    with _quiet_forks(processes), _bar_on_a_terminal():
        texts.map(
            _encode,
            batched=True,
            fn_kwargs={"tokenizer": tokenizer, "max_length": max_length},
            remove_columns=texts.column_names,
            features=Features({name: Sequence(Value(_TYPES[name])) for name in columns}),
            cache_file_name=str(folder / "tokens.arrow"),
            load_from_cache_file=False,
            new_fingerprint="tokens",
            num_proc=processes if processes > 1 else None,
            desc="tokenising",
        )


def _encode(batch: Mapping[str, list[str]], tokenizer: Tokenizer, max_length: int) -> dict[str, Any]:
    ids, values = tokenizer(batch["text"], max_length)
    return {"input_ids": ids} if values is None else {"input_ids": ids, "values": values}


@contextmanager
def _bar_on_a_terminal() -> Iterator[None]:
    """Elsewhere the bar of `datasets` would fill a log."""
    with undisturbed():
        from datasets import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if are_progress_bars_disabled() or sys.stderr.isatty():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


@contextmanager
def _quiet_forks(processes: int) -> Iterator[None]:
    """Fast tokenizers neither thread nor warn in worker processes."""
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    if processes > 1:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        yield
    finally:
        if processes > 1:
            os.environ.pop("TOKENIZERS_PARALLELISM")
            os.environ.update({} if before is None else {"TOKENIZERS_PARALLELISM": before})
