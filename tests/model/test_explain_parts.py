"""Words of a text, occurrences of terms, and shares of what several have made."""

from itertools import permutations

import numpy as np
import pytest
import torch

from xmc.model.bag import BagConfig, BagModel
from xmc.model.encoder import Encoder
from xmc.model.explanation.shares import coalitions, shapley_values
from xmc.model.explanation.tokens import Occurrences, Tokens, by_word, tokens_of
from xmc.model.word_tokenizer import WordTokenizer


def encoder_of(*texts: str, max_length: int = 64) -> Encoder:
    tokenizer = WordTokenizer.learned(texts, 50, min_frequency=1)
    return Encoder(
        BagModel(BagConfig(len(tokenizer), 0, hidden_size=4)), tokenizer, pooling="none", max_length=max_length
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Open  the\tFILE.", ["Open", "the", "FILE"]),
        ("state-of-the-art, isn't it", ["state", "of", "the", "art", "isn", "t", "it"]),
        ("getFile covid19 snake_case", ["getFile", "covid", "19", "snake", "case"]),
        ("na\u00efve \U0001f600 e\u0301t\u00e9 \ufb01le", ["na\u00efve", "e\u0301t\u00e9", "\ufb01le"]),
        ("\u56fe\u4e66\u9986 book", ["\u56fe", "\u4e66", "\u9986", "book"]),
        ("", []),
    ],
)
def test_words_stand_where_they_are_in_the_text(text: str, words: list[str]) -> None:
    encoder = encoder_of(text or "x")
    tokens = tokens_of(text, encoder)
    assert [text[start:end] for start, end in tokens.words] == words
    assert tokens.ids.tolist() == encoder.tokenize([text])[0][0].tolist()
    sums = by_word(tokens, np.ones((len(tokens.ids), 1)))
    assert sums.sum() == len(tokens.ids) and (sums >= 1).all()  # getFile is two tokens


def test_tokens_beyond_the_length_that_is_read_have_no_part() -> None:
    tokens = tokens_of("a b c d", encoder_of("a b c d", max_length=2))
    assert by_word(tokens, np.ones((2, 1))).ravel().tolist() == [1, 1, 0, 0]


def test_pieces_are_added_up_by_word() -> None:
    spans = np.array([[0, 0], [0, 2], [2, 5], [5, 6], [7, 12], [0, 0]])
    words = np.array([[0, 5], [7, 9], [9, 12]])
    tokens = Tokens("words, abcde", torch.arange(6), None, spans, words)
    weights = by_word(tokens, np.array([[100.0], [1], [2], [100], [4], [100]]))
    assert weights.ravel().tolist() == [3, 2, 2]  # special tokens and punctuation left out, the last piece shared


def test_a_term_is_shared_among_its_occurrences_and_a_bigram_as_its_words_inform() -> None:
    idf = np.array([0, 0, 1 + 3.0, 1 + 1.0, 1 + 2.0, 5.0], np.float32)  # padding, unknown, three words, `2 3`
    ids = np.array([2, 3, 1, 2, 3, 4])
    occurrences = Occurrences.of_words(ids, idf, np.array([2 * 5 + 3]), 2)
    assert occurrences.terms.tolist() == [2, 3, 4, 5]
    expected = {2: [0.5, 0, 0, 0.5, 0, 0], 3: [0, 0.5, 0, 0, 0.5, 0], 4: [0, 0, 0, 0, 0, 1]}
    expected[5] = [0.375, 0.125, 0, 0.375, 0.125, 0]
    for term, shares in expected.items():
        assert occurrences.by_token(np.array([term]), np.ones((1, 1))).ravel().tolist() == pytest.approx(shares)


def test_without_words_there_are_no_terms() -> None:
    occurrences = Occurrences.of_words(np.zeros(0, np.int64), np.ones(4, np.float32), np.array([5]), 1)
    assert occurrences.by_token(np.zeros(0, np.int64), np.zeros((3, 0))).shape == (0, 3)


@pytest.mark.parametrize("players", [1, 2, 3, 4])
def test_shapley_values_are_means_over_all_orders(players: int) -> None:
    values = np.random.default_rng(players).normal(size=(1 << players, 2))
    assert coalitions(players).sum() == players << players - 1 and not coalitions(players)[0].any()
    expected = np.zeros((players, 2))
    orders = list(permutations(range(players)))
    for order in orders:
        present = 0
        for player in order:
            expected[player] += (values[present | 1 << player] - values[present]) / len(orders)
            present |= 1 << player
    np.testing.assert_allclose(shapley_values(values), expected)
    np.testing.assert_allclose(shapley_values(values).sum(axis=0), values[-1] - values[0])
