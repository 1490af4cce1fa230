"""How far a command has come, on a terminal: rate, time left where the number is known, memory."""

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

from xmc.train.log import peak_resident_mib

T = TypeVar("T")


def shown(documents: Iterable[T], count: Callable[[], int | None], done: int) -> Iterator[T]:
    """The documents as they are, with a bar where standard error is a terminal.

    count: how many there are, of which `done` were there before; asked only where it is shown.
    """
    if not sys.stderr.isatty():
        yield from documents
        return
    with tqdm(documents, desc="predict", unit=" documents", total=count(), initial=done, smoothing=0.1) as bar:
        last = 0.0
        for document in bar:
            yield document
            if bar.last_print_t != last:
                last = bar.last_print_t
                bar.set_postfix_str(f"{peak_resident_mib():,.0f} MiB", refresh=False)
