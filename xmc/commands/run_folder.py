"""A run's folder: its model, the data behind it, and the figures written there."""

import json
import shutil
from pathlib import Path

import torch

from xmc import build
from xmc.config import FinetuneConfig, TrainConfig, run_config_path
from xmc.data import Corpus
from xmc.evaluate import Report
from xmc.model import XMCModel
from xmc.predict import open_output
from xmc.types import XMCError


def check_run_folder(run: Path, resume: bool) -> None:
    """Raise XMCError where a new run would overwrite another."""
    if not resume and run_config_path(run).exists():
        raise XMCError(
            f"{run} already holds a run; go on with it by resume=true, choose another folder with run=..., or delete it"
        )


def load_model(run: Path, device: torch.device) -> XMCModel:
    return XMCModel.from_pretrained(build.model_folder(run), device=str(device))


def corpus_of(model: XMCModel, trained: TrainConfig) -> Corpus:
    """The data of a run over the labels of its model."""
    corpus = build.load_corpus(trained)
    if isinstance(trained, FinetuneConfig) and trained.keep_labels and set(corpus.label_ids) <= set(model.label_ids):
        return corpus.over(model.label_ids, model.label_names)
    if model.label_ids != corpus.label_ids:
        raise XMCError(
            f"the labels of {corpus.name} ({len(corpus.label_ids)}) are no longer those that {trained.run} was trained "
            f"on ({len(model.label_ids)}); restore the data, or train anew"
        )
    return corpus


def save_model(model: XMCModel, folder: Path) -> None:
    """Put the model's folder in place of what is there, once it is whole."""
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    model.save_pretrained(temporary)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


def write_metrics(run: Path, split: str, report: Report) -> None:
    write_json(run / f"metrics-{split}.json", report.to_dict())


def write_json(path: Path, values: object) -> None:
    with open_output(str(path)) as out:
        json.dump(values, out, indent=2)
        out.write("\n")
