"""A run's folder: its model, the data behind it, and the figures written there."""

import json
import logging
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
import torch

from xmc import factory
from xmc.config import FinetuneConfig, TrainConfig, load_config_if_run, run_config_path
from xmc.config.shell import shell_command
from xmc.data.corpus import Corpus
from xmc.data.files import listing
from xmc.distributed import ALONE, Processes
from xmc.errors import XMCError
from xmc.model import Blend, XMCModel
from xmc.model.lexical_file import load_apart
from xmc.model.saved import CARD, is_blend, read_blend_card, read_card
from xmc.storage import locked, sweep, whole_file, whole_folder
from xmc.strings import Strings

logger = logging.getLogger(__name__)

WITHOUT_DEV = "without-dev"  # folder of the lexical half that has not learned from dev, where the model's has


@contextmanager
def held(run: Path, *, wait: bool = False) -> Iterator[None]:
    """A run's folder without another writer, and without what killed ones left. wait: for the other, instead of
    giving up."""
    with locked(run, wait=wait):
        sweep(run)
        shutil.rmtree(run / ".model.tmp", ignore_errors=True)  # of versions that used no lock
        yield


@contextmanager
def held_if_writable(run: Path) -> Iterator[None]:
    """For a command that reads above all: it waits for another writer, and works on what it may not write to, too."""
    with ExitStack() as stack:
        with suppress(OSError):
            stack.enter_context(held(run, wait=True))
        yield


def check_run_folder(run: Path, go_on: str = "", *, quietly: bool = False) -> None:
    """Raise XMCError where a new run would overwrite another that has learned something.

    go_on: how the command goes on with a run instead. quietly: nothing is said of one that has learned nothing yet.
    """
    is_run = run_config_path(run).exists() and not is_blend(run / "model")
    if (run / "model").exists() or any((run / "checkpoints").glob("step-*")):
        ways = [*([go_on] if go_on and is_run else []), "choose another folder with run=..."]
        raise XMCError(f"{run} already holds a run; {', '.join(ways)}, or delete it")
    if is_run and not quietly:
        logger.info("%s holds a run that has learned nothing yet; it starts anew", run)


def is_finished(run: Path) -> bool:
    """A run ends with its model, which appears whole; the card is what makes a folder one.

    Raises:
        XMCError: there is a card, but of no whole model.
    """
    model = run / "model"
    if not (model / CARD).exists():
        return False
    if is_blend(model):
        read_blend_card(model)
        return True
    try:
        read_card(model)
    except XMCError as error:
        go_on = shell_command("train", run=str(run), resume=True)
        raise XMCError(f"{error}; or delete {model}, and save it anew with: {go_on}") from None
    return True


def load_model(run: Path, device: torch.device, processes: Processes = ALONE) -> XMCModel:
    """The model of a run, which computes as it did in training, or a saved one. processes: that share its labels."""
    trained = load_config_if_run(run) if device.type == "cuda" else None
    precision = "auto" if trained is None else trained.trainer.precision
    folder = factory.model_folder(run)
    return XMCModel.from_pretrained(folder, device=str(device), precision=precision, processes=processes)


def load_model_or_blend(run: Path, device: torch.device, processes: Processes = ALONE) -> XMCModel | Blend:
    """Likewise, or a blend, whose labels are not shared."""
    folder = factory.model_folder(run)
    if not is_blend(folder):
        return load_model(run, device, processes)
    if processes.size > 1:
        raise XMCError(f"{run} is a blend, whose labels are not divided; divide the documents")
    return Blend.from_pretrained(folder, device=str(device))


@contextmanager
def half_for(split: str, model: XMCModel | Blend, run: Path) -> Iterator[None]:
    """Meanwhile the lexical half of a run's model is one that has not learned from the split.

    A blend has no other halves; it is told.
    """
    models = [model] if isinstance(model, XMCModel) else [m.ranker for m in model.members]
    halves = [m.lexical for m in models if isinstance(m, XMCModel) and m.lexical is not None and m.lexical.saw_dev]
    if split != "dev" or not halves:
        yield
        return
    apart = factory.model_folder(run).parent / WITHOUT_DEV
    if isinstance(model, Blend) or not apart.is_dir():
        logger.warning(f"{run}: the model has learned from the dev documents, of which its figures are too good")
        yield
        return
    model.lexical = load_apart(apart, len(model.label_ids), model.classifier.in_features)
    try:
        yield
    finally:
        (model.lexical,) = halves


def corpus_of(model: XMCModel | Blend, trained: TrainConfig) -> Corpus:
    """The data of a run over the labels of its model, and behind these the labels that only dev or test have.

    No list can have the latter, but they are true: recall counts them. How many there are is logged.

    Raises:
        XMCError: the labels that the model was trained on are others now.
    """
    corpus = factory.load_corpus(trained)
    if model.label_ids == corpus.label_ids:
        return corpus
    known, ids = set(model.label_ids), list(corpus.label_ids)
    new = np.array([column for column, label in enumerate(ids) if label not in known], dtype=np.int64)
    in_train, anywhere = corpus.label_counts("train"), np.sum([*map(corpus.label_counts, corpus.splits)], axis=0)
    gone = set() if isinstance(trained, FinetuneConfig) and trained.keep_labels else known - set(ids)
    changes = {
        "train has now": [ids[column] for column in new if in_train[column]],
        "new, and without a document, are": [ids[column] for column in new if not anywhere[column]],
        "the data lacks now": gone,
    }
    if told := [f"{what} {listing(labels)}" for what, labels in changes.items() if labels]:
        raise XMCError(
            f"the labels of {corpus.name} ({len(ids)}) are no longer those that {trained.run} was trained on "
            f"({len(known)}): {'; '.join(told)}. Restore the data, or train anew"
        )
    for name, split in corpus.splits.items():
        documents, unknown = split.labels[:, new].nonzero()
        if len(unknown):
            logger.warning(
                "%s: the model does not know labels of %d documents; they count as true, and cannot be found: %s",
                *(name, len(set(documents)), listing(ids[column] for column in set(new[unknown]))),
            )
    names = [corpus.label_names[int(column)] for column in new]
    return corpus.over(
        Strings([*model.label_ids, *(ids[column] for column in new)]), Strings([*model.label_names, *names])
    )


def save_model(model: XMCModel | Blend, folder: Path) -> None:
    """Put the model's folder in place of what is there, once it is whole."""
    with whole_folder(folder) as whole:
        model.save_pretrained(whole)


def write_json(path: Path, values: object) -> None:
    """Write figures.

    Raises:
        XMCError: the system does not let us.
    """
    _write(path, [json.dumps(values, indent=2)])


def write_json_lines(path: Path, values: Iterable[object]) -> None:
    """Likewise, a line each."""
    _write(path, (json.dumps(value, ensure_ascii=False) for value in values))


def _write(path: Path, lines: Iterable[str]) -> None:
    try:
        with whole_file(path) as out:
            out.writelines(f"{line}\n" for line in lines)
    except OSError as error:
        raise XMCError(
            f"{path} could not be written ({error.strerror or error}); make room, or the folder writable, and give the "
            "command again"
        ) from None
