"""The demo set: what the docstrings of this Python describe, which module has it, and what it takes."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from xmc.data.files import near_misses
from xmc.data.formats import DataSection
from xmc.errors import XMCError
from xmc.values import Texts

if TYPE_CHECKING:
    from xmc.data.assemble import RawSplit
    from xmc.data.corpus import Corpus

_COLLECTOR = Path(__file__).with_name("docstrings.py")
_IN_TEST = 0.2


class PydocData(DataSection):
    """The demo: docstrings of the Python you run -> their module and parameter names. Nothing is downloaded."""

    kind: Literal["pydoc"] = "pydoc"
    packages: Texts = ()
    """more installed packages to read, e.g. [numpy,torch]"""

    def read(self) -> "Corpus":
        """Docstrings of the public classes, functions and methods of the standard library and of installed `packages`.

        The labels of a document are its module (`module:json.decoder`) and its parameters (`parameter:encoding`); what
        lists the parameters is cut from the text. Modules that fail to import are left out. A document's split is a
        hash of its id. The same Python with the same packages gives the same corpus.

        Raises XMCError for a package that is not installed or has no docstring.
        """
        from xmc.data.assemble import assemble
        from xmc.data.corpus import uniform_hash

        for package in self.packages:
            if not _installed(package):
                hint = near_misses(package, set(packages_distributions()))
                raise XMCError(f"data.packages: no package {package!r} is installed{hint}; install it or leave it out")
        records = _collect(self.packages)
        modules = {record["module"] for record in records}
        for package in self.packages:
            if not any(module == package or module.startswith(f"{package}.") for module in modules):
                raise XMCError(
                    f"data.packages: {package!r} cannot be imported or has no public docstring; leave it out"
                )
        documents: dict[str, list[dict]] = {"train": [], "test": []}
        for record in records:
            documents["test" if uniform_hash(f"test:{record['id']}", seed=0) < _IN_TEST else "train"].append(record)
        labels = {label for record in records for label in _labels(record)}
        names = {label: label.replace(":", " ", 1) for label in sorted(labels)}
        return assemble("pydoc", {split: _raw_split(of) for split, of in documents.items() if of}, names)


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


def _raw_split(records: Sequence[dict]) -> "RawSplit":
    from xmc.data.assemble import RawSplit, label_lists

    ids = [record["id"] for record in records]
    labels = label_lists([_labels(record) for record in records])
    return RawSplit(ids, [record["text"] for record in records], labels, lambda row: ids[row])
