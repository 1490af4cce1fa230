"""What each of the stacked rankings has in a label's log-odds: the difference from an empty document, divided."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xmc.model.explanation.ranking import Floats, Said
from xmc.model.explanation.shapley import coalitions, shapley_values
from xmc.model.lexical import LexicalHalf, candidates
from xmc.types import TopK


def stacked(
    half: LexicalHalf, said: Sequence[Said], rankings: Sequence[TopK], labels: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Log-odds [n], as `LexicalHalf.stack` has them, and the share of each ranking in their rise, [rankings, n].

    rankings: of the document, [1, k] each. As there, a ranking that lacks a label gives it 0, and so has no share; of a
    label that all lack, their own scores count. The best scores of all other labels stay as they are.
    """
    of_lists, listed = listed_scores(rankings, labels)
    here, empty = (np.stack([getattr(one, scores) for one in said]) for scores in ("scores", "empty"))
    here = np.where(listed, of_lists, here)
    empty = np.where(here > 0, empty, 0)
    names, found = candidates(rankings)
    others = (names != labels[:, None]) & (half.counts_of(names) > 0)
    best = np.where(others, found, 0).max(axis=2)
    counts = np.stack([half.counts_of(labels), np.ones_like(labels)], axis=1)

    def log_odds(present: NDArray[np.bool_]) -> Floats:
        """[coalitions, n], each label beside the best of the others."""
        own = np.where(present.T[:, :, None], here[:, None], empty[:, None])
        both = np.stack(np.broadcast_arrays(own, best[:, None]), axis=-1).astype(np.float32)
        shape = both.shape[1:]
        logits = half.log_odds(both.reshape(len(said), -1, 2), np.broadcast_to(counts, shape).reshape(-1, 2))
        return logits.reshape(shape)[..., 0].astype(np.float64)

    values = log_odds(coalitions(len(said)))
    return values[-1], shapley_values(values)


def listed_scores(rankings: Sequence[TopK], labels: NDArray[np.int64]) -> tuple[Floats, NDArray[np.bool_]]:
    """What each ranking of one document, [1, k], gives the labels, 0 where it lacks one, [rankings, n]; and whether any
    has a label, [n]."""
    there = [top.labels.numpy() == labels[:, None] for top in rankings]
    scores = [np.where(one, top.scores.numpy(), 0).sum(axis=1) for one, top in zip(there, rankings, strict=True)]
    return np.stack(scores), np.any([one.any(axis=1) for one in there], axis=0)
