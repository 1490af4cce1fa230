"""`xmc report`: a page of HTML about one run, or about several side by side."""

from pathlib import Path

from pydantic import Field, model_validator

from xmc.commands.command import Command, Given
from xmc.config import RunData, Section, Split, load_run_config
from xmc.endings import undisturbed
from xmc.errors import XMCError
from xmc.storage import whole_file
from xmc.values import Count, Device, Folders, OwnThreads, Seed, Text


class ReportConfig(Section):
    """One run, or several side by side, as one HTML file."""

    run: Text | None = None
    """folder of a run"""
    runs: Folders = ()
    """or several of them; differences are to the first"""
    data: RunData = Field(default_factory=dict)
    split: Split = "dev"
    output: Text | None = None
    """null: report-<split>.html in the folder of the run, or comparison-<split>.html in that of the first"""
    replicates: Count = 1000
    """of the bootstrap over documents"""
    seed: Seed = 0
    """of the bootstrap"""
    examples: Count = 5
    """best and worst documents to show"""
    batch_size: Count = 256
    device: Device = "auto"
    threads: OwnThreads = None

    @property
    def folders(self) -> tuple[str, ...]:
        """Of the runs to report on."""
        return self.runs if self.run is None else (self.run,)

    @model_validator(mode="after")
    def _run_or_runs(self) -> "ReportConfig":
        if (self.run is None) == (not self.runs):
            raise ValueError("give run=<folder of xmc train>, or several of them as runs=[a,b]")
        if len(set(self.runs)) < len(self.runs):
            raise ValueError(f"runs: a run stands twice in {', '.join(self.runs)}; name each once")
        return self


def run(config: ReportConfig, _: Given) -> None:
    """Write the report as one HTML file, which loads nothing."""
    trained = [load_run_config(folder, config.data) for folder in config.folders]
    with undisturbed():
        from xmc.machine import prepare_machine
        from xmc.run_report import Missing, render
        from xmc.workflow.reporting import facts_of
        from xmc.workflow.run_folder import is_finished

    device = prepare_machine(config.device, config.threads)
    folders = [Path(folder) for folder in config.folders]
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        names = [str(folder) for folder in folders]
    runs = [
        facts_of(
            *(*one, device, config.split, config.batch_size),
            replicates=config.replicates,
            seed=config.seed,
            examples=config.examples,
        )
        for one in zip(names, folders, trained, strict=True)
    ]
    missing = [facts.measured.reason for facts in runs if isinstance(facts.measured, Missing)]
    if len(missing) == len(runs) and all(map(is_finished, folders)):
        raise XMCError(missing[0].removesuffix("."))
    file = f"{'report' if len(runs) == 1 else 'comparison'}-{config.split}.html"
    output = Path(config.output) if config.output else folders[0] / file
    with whole_file(output) as out:
        out.write(render(runs))
    print(output)


COMMAND = Command(ReportConfig, run, often=("run", "runs", "split", "output"))
