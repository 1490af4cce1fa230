"""The model of a run that has not ended."""

from pathlib import Path
from typing import Literal

from xmc import factory
from xmc.config import FinetuneConfig, load_run_config
from xmc.machine import prepare_machine
from xmc.model import XMCModel
from xmc.model.tensor_file import fill
from xmc.train.checkpoint import Checkpoints


def load_checkpoint(run: str | Path, which: Literal["best", "last"] = "best", device: str = "cpu") -> XMCModel:
    """The network of a run as a checkpoint has it, ready to predict: for a look at a run that goes on.

    It has no lexical half, which learns when the network has; `xmc train run=... finish=now` makes the whole model. The
    run's data is read, as the encoder is made of it. which: the best on dev so far, or the last; the last, too, where
    none was measured.

    Raises:
        XMCError: there is no such run, it has no whole checkpoint, or its data is no longer what it was.
    """
    config = load_run_config(str(run))
    corpus = factory.load_corpus(config)
    config_hash = factory.run_fingerprint(config, corpus)
    source = None
    if isinstance(config, FinetuneConfig):
        source = factory.load_source(config.source)
        corpus = factory.learned_part(corpus, source) if config.keep_labels else corpus
    checkpoints = Checkpoints(Path(run) / "checkpoints", config_hash=config_hash, keep_last=config.trainer.keep_last)
    saved = checkpoints.load_last()
    on = prepare_machine(device, config.trainer.threads)
    state = factory.build_training(config, corpus, on, source=source, resumed=True).state
    state.load(*saved)
    if which == "best" and (best := state.progress.best_step) is not None:
        fill(state.model.state_dict(), checkpoints.load_best(best)[0]["model"])
    return state.model.eval()
