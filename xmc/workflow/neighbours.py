"""The training documents, as a model sees them."""

from dataclasses import replace

import numpy as np
import torch
from scipy.sparse import csr_matrix

from xmc import factory
from xmc.config import TrainConfig
from xmc.data.batches import Batches
from xmc.data.corpus import Corpus
from xmc.model import Neighbours, XMCModel
from xmc.model.lexical import LexicalHalf
from xmc.model.neighbours import WIDTH, principal_directions, seen_from

_MOST = 100_000  # documents that may vote, drawn by chance where there are more
_SAMPLE = 4096  # of these, in which the directions are found


def with_neighbours(half: LexicalHalf, model: XMCModel, corpus: Corpus, config: TrainConfig) -> LexicalHalf:
    """The half with the training documents of a corpus, where the run wants them to vote."""
    if not (nearest := config.lexical.voters):
        return half
    batches = factory.build_batches(config, corpus, "train", model.encoder, factory.dev_batch_size(config))
    return replace(half, neighbours=nearest_documents(model, batches, nearest, config.seed))


@torch.no_grad()
def nearest_documents(model: XMCModel, batches: Batches, nearest: int, seed: int) -> Neighbours:
    """The documents of these batches in the features of a model, to be searched for the nearest."""
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(len(batches.lengths))[:_MOST])
    sample = np.sort(rng.permutation(chosen)[:_SAMPLE])
    with model.evaluating():
        drawn = [model.features_of(batch).float().cpu() for batch in batches.by_length(among=sample)]
        directions = principal_directions(torch.cat(drawn), WIDTH, seed)
        features_Nd = torch.empty(len(chosen), directions.shape[1], dtype=torch.float16)
        for batch in batches.by_length(among=chosen):
            places = torch.from_numpy(np.searchsorted(chosen, batch.rows.numpy()))
            features_Nd[places] = seen_from(directions, model.features_of(batch)).half()
    return Neighbours.of(directions, features_Nd, csr_matrix(batches.labels[chosen]), nearest)
