"""The explanation of a model's scores: the network's part and the lexical half's, by the words of the text."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from xmc.errors import XMCError
from xmc.model.explanation.contribution import Explanation, explanation
from xmc.model.explanation.lexical import said_by_half
from xmc.model.explanation.network import said_by_network
from xmc.model.explanation.ranking import Floats, Said
from xmc.model.explanation.stacked import stacked
from xmc.model.explanation.tokens import Tokens, by_word, tokens_of
from xmc.model.lexical import CANDIDATES
from xmc.model.prediction import check_texts

if TYPE_CHECKING:
    from xmc.model.model import XMCModel


@torch.no_grad()
def explain(model: "XMCModel", text: str, labels: Sequence[str]) -> list[Explanation]:
    """See `XMCModel.explain`; the model is in evaluation."""
    check_texts([text], model.encoder.reads_text)
    numbers = np.array([number_of(label, model.label_ids) for label in labels], np.int64)
    if not len(numbers):
        return []
    tokens = tokens_of(text, model.encoder)
    network = said_by_network(model, tokens, numbers)
    scores, weights = network.scores, network.weights
    if model.lexical is not None:
        scores, weights = _with_half(model, tokens, numbers, network)
    by_words = by_word(tokens, weights)
    if (calibration := model.calibration) is not None:
        scores, by_words = calibration.scale * scores + calibration.shift, calibration.scale * by_words
    return [
        explanation(label, text, float(score), tokens.words, of_words)
        for label, score, of_words in zip(labels, scores, by_words.T, strict=True)
    ]


def number_of(label: str, label_ids: Sequence[str]) -> int:
    """The place of a label. Raises XMCError where there is none of that id."""
    try:
        return label_ids.index(label)
    except ValueError:
        raise XMCError(
            f"label {label!r:.80} is none of the model's {len(label_ids):,}; give the id of one"
        ) from None


def _with_half(model: "XMCModel", tokens: Tokens, numbers: NDArray[np.int64], network: Said) -> tuple[Floats, Floats]:
    """Scores [n] and weights [T, n] of the network and the lexical half together."""
    assert model.lexical is not None
    in_probabilities = [
        model.network_probability(torch.from_numpy(logits)).numpy() for logits in (network.scores, network.empty)
    ]
    said = [Said(*in_probabilities, network.weights), *said_by_half(model.lexical, tokens, numbers)]
    depth = max(CANDIDATES, len(numbers))
    ids, mask, values = (None if part is None else part.to(model.device) for part in tokens.batch)
    features_1D = model.features(ids, mask, values)
    rankings = [model.network_ranking(features_1D, depth), *model.lexical.rank(ids, mask, values, depth)]
    scores, shares = stacked(model.lexical, said, rankings, numbers)
    return scores, sum(one.adding_up_to(share) for one, share in zip(said, shares, strict=True))
