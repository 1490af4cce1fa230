"""`xmc blend`: one model of several rankings of the same labels."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from pydantic import Field, model_validator

from xmc.commands.command import Command, Given
from xmc.config import RunData, Section, load_run_config, run_config_path, to_yaml
from xmc.endings import undisturbed
from xmc.errors import XMCError
from xmc.storage import whole_file
from xmc.values import Count, Device, Folders, OwnThreads, Text

NEIGHBOURS = "neighbours"
"""What a blend's ranking by the nearest training documents is called."""


class ScoresOf(Section):
    """Files of scores that another tool gave the documents of a split."""

    dev: Text
    test: Text | None = None
    train: Text | None = None

    def given(self) -> dict[str, str]:
        """By split, absolute: they stay where they are."""
        return {split: str(Path(path).absolute()) for split, path in self.model_dump().items() if path is not None}


class BlendConfig(Section):
    """One model of several rankings of the same labels, each with the weight that serves dev best (nDCG@5)."""

    run: Text
    """folder of the blend, a run like others"""
    runs: Folders = ()
    """folders of finished runs: the same data, the same labels"""
    scores: dict[str, ScoresOf] = Field(default_factory=dict)
    """of other tools: scores.NAME.dev=FILE scores.NAME.test=FILE, a document a line, in the order of the split; what
    xmc predict or annif index writes, [["label", score], ...], or the repository's sparse text. Scores are finite
    numbers from 0 on; logits become such by 1 / (1 + exp(-logit))"""
    neighbours: Text | None = None
    """folder of a run: the labels of the training documents nearest in the features of its model"""
    nearest: Count = 20
    """of them; fewer where labels are rare"""
    data: RunData = Field(default_factory=dict)
    batch_size: Count = 256
    device: Device = "auto"
    threads: OwnThreads = None

    @property
    def folders(self) -> tuple[str, ...]:
        """Of the runs that take part, each once."""
        return tuple(dict.fromkeys([*self.runs, *([] if self.neighbours is None else [self.neighbours])]))

    def name_of(self, folder: str) -> str:
        """What its ranking is called: as the folder, where nothing else is."""
        names = [Path(run).absolute().name for run in self.runs]
        name = Path(folder).absolute().name
        return (
            name if names.count(name) == 1 and name not in {NEIGHBOURS, *self.scores} else str(Path(folder).absolute())
        )

    @model_validator(mode="after")
    def _several_rankings(self) -> "BlendConfig":
        if len(set(self.runs)) < len(self.runs):
            raise ValueError(f"runs: a run stands twice in {', '.join(self.runs)}; name each once")
        if not self.folders:
            raise ValueError("give a run, as runs=[...] or neighbours=...: it tells the labels and the documents")
        if len(self.runs) + len(self.scores) + (self.neighbours is not None) < 2:
            raise ValueError(
                "a blend takes two rankings or more: runs=[a,b], scores.NAME.dev=FILE of another tool, neighbours=RUN"
            )
        if NEIGHBOURS in self.scores:
            raise ValueError(f"scores.{NEIGHBOURS}: that name is taken; call these scores otherwise")
        return self


def run(config: BlendConfig, _: Given) -> None:
    """Fit the weights of several rankings to dev and save them as one model in `<run>/model`.

    Beside it lie `metrics-dev.json` of the blend, `members-dev.json` with weight and metrics of each ranking, and the
    configuration of the first run, which says how documents are read.

    Raises:
        XMCError: the runs do not belong together, dev or a model is not there, or scores are not those of dev.
    """
    trained = {folder: load_run_config(folder, config.data) for folder in config.folders}
    with undisturbed():
        from xmc.evaluate.blending import fit_weights
        from xmc.factory import build_batches
        from xmc.machine import prepare_machine
        from xmc.model import Blend, Member, NearestDocuments, ScoreFiles
        from xmc.workflow import blending
        from xmc.workflow.measuring import report_of
        from xmc.workflow.predicting import rank_by_blend
        from xmc.workflow.run_folder import (
            check_run_folder,
            corpus_of,
            half_for,
            held,
            load_model,
            save_model,
            write_json,
        )
        from xmc.workflow.stacking import nearest_documents

    folder = Path(config.run)
    device = prepare_machine(config.device, config.threads)
    with held(folder):
        check_run_folder(folder)
        first = blending.checked_data(trained)
        models = {of_run: load_model(Path(of_run), device) for of_run in trained}
        blending.check_labels(models)
        model = next(iter(models.values()))
        corpus = corpus_of(model, first)
        if "dev" not in corpus.splits:
            raise XMCError(f"{first.run} has no dev split (data.dev_fraction=0) to fit weights to; give data with one")
        dev = corpus.split("dev")
        with ExitStack() as halves:
            for of_run, loaded in models.items():
                halves.enter_context(half_for("dev", loaded, Path(of_run)))
            scores = {name: ScoreFiles(files.given()) for name, files in config.scores.items()}
            of_tools = blending.read_dev(scores, dev, model.label_ids)
            members = [Member(config.name_of(of_run), 1.0, models[of_run]) for of_run in config.runs]
            members += [Member(name, 1.0, blending.scaled(scores[name], top)) for name, top in of_tools.items()]
            if config.neighbours is not None:
                voting = models[config.neighbours]
                batches = build_batches(first, corpus, "train", voting.encoder, config.batch_size)
                nearest = nearest_documents(voting, batches, config.nearest, first.seed)
                members.append(Member(NEIGHBOURS, 1.0, NearestDocuments(voting, nearest)))
            rankings = blending.rankings_of(members, of_tools, dev, config.batch_size)
        weights = fit_weights(*blending.fitted_to(rankings, dev))
        members = [replace(member, weight=weight) for member, weight in zip(members, weights, strict=True)]
        blend = Blend([member for member in members if member.weight > 0], model.label_ids, model.label_names)
        given = {member.name: top for member, top in zip(members, rankings, strict=True)}
        depth = max(*first.metrics.ks, *blending.KS)
        top = rank_by_blend(blend, dev.texts, depth, dev.filter, given, config.batch_size)
        metrics = first.metrics.model_copy(update={"ks": blending.KS})
        alone = [report_of(blending.alone(ranking, dev), corpus, "dev", metrics) for ranking in rankings]
        with whole_file(run_config_path(folder)) as out:
            out.write(to_yaml(first.model_copy(update={"run": config.run, "resume": False})))
        write_json(folder / "metrics-dev.json", report_of(top, corpus, "dev", first.metrics).to_dict())
        write_json(folder / "members-dev.json", blending.recorded(members, alone))
        save_model(blend, folder / "model")
    print(blending.table(members, alone, report_of(top, corpus, "dev", metrics)))


COMMAND = Command(BlendConfig, run, often=("runs", "neighbours"))
