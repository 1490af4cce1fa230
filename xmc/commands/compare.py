"""`xmc compare`: finished runs side by side, a row each, under the keys in which they differ."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from xmc.commands.command import Command, Given
from xmc.config import Section, Split
from xmc.endings import undisturbed
from xmc.values import Folders, Text


def _table_file(name: str) -> str:
    if Path(name).suffix not in (".csv", ".parquet"):
        raise ValueError(f"output: got {name!r}; give a name in .csv or .parquet")
    return name


class CompareConfig(Section):
    """Finished runs side by side."""

    runs: Annotated[Folders, Field(min_length=1)]
    """folders of runs, or a pattern in quotes: "runs=runs/sweep/*" """
    split: Split = "dev"
    """of it, each run has figures; those of dev since training, of test since `xmc evaluate`"""
    over: Text = "seed"
    """the key whose runs are repetitions: the table has their mean, and half their range"""
    output: Annotated[Text, AfterValidator(_table_file)] | None = None
    """a file for a row of each run with every metric: .csv or .parquet"""


def run(config: CompareConfig, _: Given) -> None:
    """Print a table of the runs, and write all figures to a file, if one is named."""
    with undisturbed():
        from xmc.workflow.comparing import compare, table, write_rows

    rows = compare([Path(folder) for folder in config.runs], config.split)
    print(table(rows, config.split, config.over))
    if config.output is not None:
        write_rows(rows, Path(config.output))


COMMAND = Command(CompareConfig, run, often=("split", "output"))
