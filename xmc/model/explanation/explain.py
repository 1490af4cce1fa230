"""The explanation of a model's scores: the network's part and the lexical half's, by the words of the text."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from xmc.errors import XMCError
from xmc.model.explanation.contribution import Explanation, explanations
from xmc.model.explanation.lexical import said_by_half
from xmc.model.explanation.network import said_by_network
from xmc.model.explanation.ranking import Floats, Said
from xmc.model.explanation.stacked import listed_scores, stacked
from xmc.model.explanation.tokens import Tokens, by_word, tokens_of
from xmc.model.lexical import CANDIDATES
from xmc.model.prediction import check_texts

if TYPE_CHECKING:
    from xmc.model.model import XMCModel


def explain(model: "XMCModel", text: str, labels: Sequence[str]) -> list[Explanation]:
    """See `XMCModel.explain`."""
    check_texts([text], model.encoder.reads_text)
    numbers = numbers_of(labels, model.label_ids)
    return explanations(labels, text, *weighed(model, text, numbers)) if labels else []


def numbers_of(labels: Sequence[str], label_ids: Sequence[str]) -> NDArray[np.int64]:
    """The places of labels. Raises XMCError where there is none of that id."""
    if isinstance(labels, str):
        raise XMCError("expected a list of labels; wrap a single one: [label]")
    try:
        return np.array([label_ids.index(label) for label in labels], np.int64)
    except ValueError:
        unknown = next(label for label in labels if label not in label_ids)
        raise XMCError(f"label {unknown!r:.80} is none of the model's {len(label_ids):,}; give their ids") from None


@torch.no_grad()
def weighed(model: "XMCModel", text: str, labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], Floats, Floats]:
    """The words of a text, int64 [W, 2], the scores of labels, [n], and what each word adds to them, [W, n]."""
    with model.evaluating():
        tokens = tokens_of(text, model.encoder)
        network = said_by_network(model, tokens, labels)
        scores, weights = network.scores, network.weights
        if model.lexical is not None:
            scores, weights = _with_half(model, tokens, labels, network)
    if (calibration := model.calibration) is not None:
        scores, weights = calibration.scale * scores + calibration.shift, calibration.scale * weights
    return tokens.words, scores, by_word(tokens, weights)


def _with_half(model: "XMCModel", tokens: Tokens, labels: NDArray[np.int64], network: Said) -> tuple[Floats, Floats]:
    """Scores [n] and weights [T, n] of the network and the lexical half together."""
    assert model.lexical is not None
    here, empty = (model.network_probability(torch.from_numpy(z)).numpy() for z in (network.scores, network.empty))
    depth = max(CANDIDATES, len(labels))
    ids, mask, values = tokens.batch(model.device)
    features_1D = model.features(ids, mask, values)
    rankings = [model.network_ranking(features_1D, depth), *model.lexical.rank(features_1D, ids, mask, values, depth)]
    said = [Said(here, empty, network.weights), *said_by_half(model.lexical, tokens, labels)]
    if model.lexical.neighbours is not None:  # what similar documents say is not divided among words
        share, _ = listed_scores(rankings[-1:], labels)
        said.append(Said(share[0], share[0], np.zeros_like(network.weights)))
    scores, shares = stacked(model.lexical, said, rankings, labels)
    return scores, np.sum([one.adding_up_to(share) for one, share in zip(said, shares, strict=True)], axis=0)
