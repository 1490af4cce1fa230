"""What needs no training to be tried: the logit adjustment of a trained model."""

from collections.abc import Callable
from pathlib import Path

import torch

from xmc import factory
from xmc.config import TrainConfig
from xmc.data.corpus import Corpus
from xmc.machine import prepare_machine
from xmc.model.lexical import LexicalHalf
from xmc.workflow.measuring import measure
from xmc.workflow.run_folder import load_model
from xmc.workflow.stacking import stack_

ADJUSTMENTS = (0.05, 0.1, 0.2, 0.3)
PAYS = 0.001  # of the metric: what another adjustment must gain


def best_adjustment(
    trained: TrainConfig, run: Path, corpus: Corpus, half: LexicalHalf | None, score: float, left: Callable[[], float]
) -> float:
    """The adjustment that a run's model wants, its own unless another pays.

    half: that of the run, for a model without; coefficients are fitted to each adjustment. score: of the model on dev,
    as it is. left: seconds of the budget, after which no other is tried.
    """
    model = load_model(run, prepare_machine(trained.trainer.device, trained.trainer.threads))
    half = half if model.lexical is None else model.lexical
    batches = factory.build_batches(trained, corpus, "dev", model.encoder, factory.dev_batch_size(trained))
    counts = torch.from_numpy(corpus.label_counts("train"))
    scores = {trained.trainer.logit_adjustment: score + PAYS}
    for tau in ADJUSTMENTS:
        if left() > 0 and tau not in scores:
            model.classifier.adjust_logits(counts, len(corpus.split("train")), tau)
            stack_(model, half, batches, trained.seed, corpus.split("dev").filter)
            scores[tau] = measure(model, batches, corpus, "dev", trained.metrics)[trained.trainer.metric]
    return max(scores, key=lambda tau: scores[tau])
