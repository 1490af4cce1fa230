"""The explanation of a model's scores, the network's part and the lexical half's, and of a blend's, by the words of the
text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit, logit

from xmc.errors import XMCError
from xmc.model.explanation.lexical import said_by_half
from xmc.model.explanation.network import said_by_network
from xmc.model.explanation.shares import Floats, Said, coalitions, listed_scores, shapley_values, stacked
from xmc.model.explanation.tokens import Tokens, by_word, tokens_of
from xmc.model.lexical import CANDIDATES
from xmc.model.prediction import check_texts
from xmc.types import TopK

if TYPE_CHECKING:
    from xmc.model.model import XMCModel


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one word adds to a label's score. start, end: characters of the text. weight: below 0 against the label."""

    start: int
    end: int
    text: str
    weight: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a text has a label, or has not: score = base + the sum of the terms' weights.

    score: the label's log-odds, as `Prediction.logit`. terms: each word that has a part in it, as often as it occurs,
    in the order of the text. base: what the score would be of a text of which no word is known.
    """

    label: str
    score: float
    terms: list[Contribution]
    base: float

    def words(self, k: int) -> list[tuple[str, float]]:
        """The k words of the largest weight, whatever its sign, all occurrences together, whatever their case."""
        sums: dict[str, float] = {}
        for term in self.terms:
            word = term.text.casefold()
            sums[word] = sums.get(word, 0.0) + term.weight
        return sorted(sums.items(), key=lambda item: -abs(item[1]))[:k]


def explain(model: "XMCModel", text: str, labels: Sequence[str]) -> list[Explanation]:
    """See `XMCModel.explain`."""
    check_texts([text], model.encoder.reads_text)
    numbers = numbers_of(labels, model.label_ids)
    return _explanations(labels, text, *weighed(model, text, numbers)) if labels else []


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


def explain_blend(
    text: str,
    labels: Sequence[str],
    label_ids: Sequence[str],
    rankings: Sequence[tuple["XMCModel | None", float, TopK]],
) -> list[Explanation]:
    """See `Blend.explain`. rankings: model, if it is one's, weight and what it gives for the text, [1, k]."""
    if not labels:
        return []
    numbers = numbers_of(labels, label_ids)
    found, listed = listed_scores([top for *_, top in rankings], numbers)
    fixed, said, shares = np.zeros(len(numbers)), [], []
    for (model, share, _), scores in zip(rankings, found, strict=True):
        if model is None:
            fixed = fixed + share * scores
        else:
            words, one = _said(model, text, numbers)
            here = np.where(listed, scores, one.scores)
            said.append(Said(here, np.where(here > 0, one.empty, 0), one.weights))
            shares.append(share)
    if not said:
        return _explanations(labels, text, np.zeros((0, 2), np.int64), _log_odds(fixed), np.zeros((0, len(labels))))
    here, empty = (np.stack([getattr(one, scores) for one in said]) for scores in ("scores", "empty"))
    present = coalitions(len(said))[:, :, None]
    values = _log_odds(fixed + (np.array(shares)[:, None] * np.where(present, here, empty)).sum(axis=1))
    parts = zip(said, shapley_values(values), strict=True)
    weights = np.sum([one.adding_up_to(total) for one, total in parts], axis=0)
    return _explanations(labels, text, words, values[-1], weights)


def _said(model: "XMCModel", text: str, labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], Said]:
    """The words of the text, and what the model says of the labels, in probabilities."""
    words, scores, weights = weighed(model, text, labels)
    here, empty = (_probability(model, logits) for logits in (scores, scores - weights.sum(axis=0)))
    return words, Said(here, empty, weights)


def _probability(model: "XMCModel", logits: Floats) -> Floats:
    """Of what `weighed` gives."""
    if model.calibration is not None:
        return expit(logits)
    return model.raw_probability(torch.from_numpy(logits)).numpy()


def _log_odds(probabilities: Floats) -> Floats:
    """As `blended` has them."""
    return logit(np.clip(probabilities, 1e-30, 1 - 1e-7))


def _explanations(
    labels: Sequence[str], text: str, words: NDArray[np.int64], scores: Floats, weights: Floats
) -> list[Explanation]:
    """Of n labels. words: [W, 2], where each begins and ends. scores: [n]. weights: [W, n]; those of 0 are left out."""
    spans = [(start, end, text[start:end]) for start, end in words.tolist()]
    return [
        Explanation(label, score, [Contribution(*span, w) for span, w in zip(spans, of_words, strict=True) if w], base)
        for label, score, of_words, base in zip(
            labels, scores.tolist(), weights.T.tolist(), (scores - weights.sum(axis=0)).tolist(), strict=True
        )
    ]
