"""The demo set: what the docstrings of this Python describe, which module has it, and what it takes."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import packages_distributions
from pathlib import Path

from xmc.data.assemble import RawSplit, assemble, label_lists
from xmc.data.corpus import Corpus, uniform_hash
from xmc.data.files import near_misses
from xmc.errors import XMCError

_COLLECTOR = Path(__file__).with_name("docstrings.py")


def read_pydoc(packages: Sequence[str] = (), test_fraction: float = 0.2, seed: int = 0) -> Corpus:
    """Docstrings of the public classes, functions and methods of the standard library and of installed `packages`.

    The labels of a document are its module (`module:json.decoder`) and its parameters (`parameter:encoding`); what
    lists the parameters is cut from the text. Modules that fail to import are left out. A document's split is a hash of
    its id and `seed`. The same Python with the same packages gives the same corpus.

    Raises XMCError for a package that is not installed or has no docstring.
    """
    for package in packages:
        if not _installed(package):
            hint = near_misses(package, set(packages_distributions()))
            raise XMCError(f"data.packages: no package {package!r} is installed{hint}; install it or leave it out")
    records = _collect(packages)
    modules = {record["module"] for record in records}
    for package in packages:
        if not any(module == package or module.startswith(f"{package}.") for module in modules):
            raise XMCError(f"data.packages: {package!r} cannot be imported or has no public docstring; leave it out")
    in_test = [uniform_hash(f"test:{record['id']}", seed) < test_fraction for record in records]
    chosen = {
        split: [record for record, is_test in zip(records, in_test, strict=True) if is_test == (split == "test")]
        for split in ("train", "test")
    }
    labels = {label for record in records for label in _labels(record)}
    names = {label: label.replace(":", " ", 1) for label in sorted(labels)}
    splits = {split: _raw_split(documents) for split, documents in chosen.items() if documents}
    return assemble("pydoc", splits, names)


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package.partition(".")[0]) is not None
    except (ImportError, ValueError):
        return False


def _collect(packages: Sequence[str]) -> list[dict]:
    """The documents of `docstrings.py`, run in an interpreter of its own so that imports change nothing here."""
    command = [sys.executable, "-P", str(_COLLECTOR), *packages]
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    if done.returncode:
        trace = done.stderr.decode("utf-8", "replace").strip()
        raise XMCError(f"reading docstrings failed with status {done.returncode}; try fewer data.packages\n{trace}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def _labels(record: dict) -> list[str]:
    return [f"module:{record['module']}", *(f"parameter:{name}" for name in record["parameters"])]


def _raw_split(records: Sequence[dict]) -> RawSplit:
    ids = [record["id"] for record in records]
    labels = label_lists([_labels(record) for record in records])
    return RawSplit(ids, [record["text"] for record in records], labels, lambda row: ids[row])
