"""The commands of xmc: each a module, or a package where it is large, that holds its options and what it does."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xmc.commands.command import Command

COMMANDS = {
    "prepare": "download and unpack a benchmark set, and read any set into the cache",
    "train": "train a model from raw text (resume=true goes on from the last checkpoint)",
    "tune": "find good settings within a budget of time, and go on with it (budget=30min)",
    "finetune": "train a model further on other data, with other labels",
    "add-labels": "teach a model new labels from a few examples, and leave all else as it is",
    "evaluate": "measure a run's model on one split",
    "calibrate": "fit a run's probabilities and thresholds to its dev split",
    "blend": "make one model of several runs, scores of other tools, nearest documents",
    "report": "show a run, or several side by side, on one page of HTML",
    "compare": "set finished runs side by side: what they differ in, quality, size and time",
    "predict": "write the best labels of new documents",
    "serve": "answer over HTTP, with a page to try it on",
    "coordinate-check": "show whether learning rates carry over from one fan-in to another",
    "estimate": "tell how much memory a run would take, part by part, and what would make it fit",
    "flops": "count multiply-adds and bytes, layer by layer, beside the dense twin",
}


def load(name: str) -> "Command[Any]":
    """The command of that name; its module is imported, and that of no other."""
    command: Command[Any] = importlib.import_module(f"xmc.commands.{name.replace('-', '_')}").COMMAND
    return command
