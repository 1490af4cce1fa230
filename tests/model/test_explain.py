"""Reasons add up to the score, whatever the model is made of."""

from pathlib import Path

import numpy as np
import pytest
import torch
from test_lexical_half import LABELS, learned, with_neighbours
from test_model import TEXTS, make_model

from xmc.errors import XMCError
from xmc.model import Explanation, XMCModel
from xmc.model.bag import BagConfig, BagModel, frequent_bigrams
from xmc.model.calibration import Calibration
from xmc.model.classifier import FixedFanIn
from xmc.model.dense import Dense
from xmc.model.encoder import Encoder
from xmc.model.head_and_tail import HeadAndTail
from xmc.model.intermediate import Identity
from xmc.model.lexical import Terms
from xmc.model.sparse_features import SparseFeaturesConfig, SparseFeaturesModel, SparseFeaturesTokenizer
from xmc.model.word_tokenizer import WordTokenizer
from xmc.ops.fan_in import resolve_backend
from xmc.sparsity.topology import init_index
from xmc.train.lexical import LexicalRecipe, learn_lexical_half

IDS = [f"l{i}" for i in range(7)]
TEXT = "Open the file, then close THE file! Nobody ran home."


def with_bigrams(*, lexical: bool) -> XMCModel:
    """A bag of words and bigrams straight before the classifier."""
    torch.manual_seed(0)
    tokenizer = WordTokenizer.learned(TEXTS, 50, min_frequency=1)
    ids = tokenizer(TEXTS, 16).ids
    offsets = np.cumsum([0, *map(len, ids)])
    bigrams = frequent_bigrams(np.concatenate(ids), offsets, len(tokenizer), 50, 1)
    bag = BagModel(BagConfig(len(tokenizer), len(bigrams), hidden_size=8))
    bag.learn_terms(bigrams, [(torch.tensor([row]), torch.ones(1, len(row), dtype=torch.int64)) for row in ids])
    torch.nn.init.normal_(bag.norm.bias)
    encoder = Encoder(bag, tokenizer, pooling="none", max_length=16)
    classifier = Dense(8, 7, generator=torch.Generator().manual_seed(0))
    model = XMCModel(encoder, Identity(8), classifier, label_ids=IDS, label_names=IDS, loss="bce")
    if lexical:
        ids_BT, mask_BT, _ = encoder.tokenize(TEXTS)
        terms = Terms.learned(len(tokenizer), bigrams, [0, 1], [(ids_BT, mask_BT)])
        recipe = LexicalRecipe(centroid_terms=8, leaf_size=2, start=6.0, cost=1.0, passes=5, threshold=0.05)
        model.lexical = learn_lexical_half(terms, terms.matrix(ids_BT, mask_BT), LABELS, recipe, seed=0)
    return model.eval()


def of_sparse_features() -> XMCModel:
    torch.manual_seed(0)
    bag = SparseFeaturesModel(SparseFeaturesConfig(20, hidden_size=8))
    encoder = Encoder(bag, SparseFeaturesTokenizer(20), pooling="none", max_length=4)
    classifier = Dense(8, 7, generator=torch.Generator().manual_seed(0))
    return XMCModel(encoder, Identity(8), classifier, label_ids=IDS, label_names=IDS, loss="squared_hinge").eval()


def check(model: XMCModel, text: str) -> dict[str, Explanation]:
    """All reasons, once they add up to the predicted scores and stand where they say."""
    (predicted,) = model.predict([text], k=7)
    reasons = model.explain(text, [p.label for p in predicted])
    for p, reason in zip(predicted, reasons, strict=True):
        assert reason.label == p.label and reason.score == pytest.approx(p.logit, abs=1e-3)
        assert reason.score == pytest.approx(reason.base + sum(term.weight for term in reason.terms), abs=1e-6)
        assert all(text[term.start : term.end] == term.text for term in reason.terms)
        assert [term.start for term in reason.terms] == sorted(term.start for term in reason.terms)
    return {reason.label: reason for reason in reasons}


@pytest.mark.parametrize("lexical", [False, True])
def test_reasons_add_up_to_the_score(lexical: bool) -> None:
    reasons = check(with_bigrams(lexical=lexical), TEXT)
    words = [term.text for term in reasons["l1"].terms]
    assert words == ["Open", "the", "file", "close", "THE", "file", "ran", "home"]  # and no word that nobody knows


def test_what_similar_documents_say_is_part_of_the_base() -> None:
    model = with_bigrams(lexical=True)
    assert model.lexical is not None
    before = check(model, TEXTS[1])
    model.lexical = with_neighbours(model.lexical, model)
    after = check(model, TEXTS[1])
    assert any(abs(after[label].base - before[label].base) > 0.01 for label in after)


@pytest.mark.parametrize("lexical", [False, True])
def test_the_base_is_the_score_of_a_text_without_a_known_word(lexical: bool) -> None:
    model = with_bigrams(lexical=lexical)
    empty = {p.label: p.logit for p in model.predict(["?"], k=7)[0]}
    for label, reason in check(model, TEXT).items():
        if not lexical:
            assert reason.base == pytest.approx(empty[label], abs=1e-4)
        assert model.explain("?", [label])[0].terms == []


def test_the_words_of_a_label_speak_for_it() -> None:
    model = with_bigrams(lexical=True)
    for text, row in zip(TEXTS[:4], LABELS[:4], strict=True):
        reason = check(model, text)[f"l{row.indices[0]}"]
        assert sum(term.weight for term in reason.terms) > 0 and max(reason.words(9), key=lambda w: w[1])[1] > 0.3


def test_a_calibrated_model_gives_reasons_of_calibrated_scores() -> None:
    model = with_bigrams(lexical=True)
    before = check(model, TEXT)
    model.calibration = Calibration(scale=2.0, shift=0.5, k=5, threshold=0.5)
    for label, reason in check(model, TEXT).items():
        assert [term.weight for term in reason.terms] == pytest.approx([2 * t.weight for t in before[label].terms])


def test_labels_that_the_half_does_not_know_have_the_reasons_of_the_network() -> None:
    model = with_bigrams(lexical=True)
    assert model.lexical is not None
    unknown = min(set(range(7)) - set(model.lexical.labels.tolist()))
    with_half = check(model, TEXT)[f"l{unknown}"]
    model.lexical = None
    alone = check(model, TEXT)[f"l{unknown}"]
    assert [t.weight for t in with_half.terms] == pytest.approx([t.weight for t in alone.terms], abs=1e-3)


@pytest.mark.parametrize("row", ["3:0.5 1:2", "", "8:-1 3:1 0:0.25 5:2 6:0.1"])
def test_sparse_features_are_the_words_of_their_row(row: str) -> None:
    reasons = check(of_sparse_features(), row)
    kept = sorted(row.split(), key=lambda entry: -abs(float(entry.partition(":")[2])))[:4]
    assert sorted(term.text for term in reasons["l3"].terms) == sorted(kept)


@pytest.mark.parametrize("kind", ["dense", "fixed_fan_in", "groups", "head_and_tail"])
def test_rows_of_a_classifier_give_its_logits(kind: str) -> None:
    generator, features_BD = torch.Generator().manual_seed(0), torch.randn(5, 12)
    index, order = init_index(7, 4, 12, 0), torch.tensor([4, 1, 6, 0, 2, 5, 3])
    backend = resolve_backend("cpu")[0]
    dense = Dense(12, 7, generator=generator)
    sparse = FixedFanIn(12, index, backend=backend, generator=generator)
    groups = FixedFanIn(12, init_index(3, 4, 12, 0), backend=backend, generator=generator, order_L=order)
    both = HeadAndTail(Dense(12, 2, generator=generator), FixedFanIn(12, index[2:], backend=backend), order)
    torch.nn.init.normal_(both.tail.weight)
    classifier = {"dense": dense, "fixed_fan_in": sparse, "groups": groups, "head_and_tail": both}[kind]
    classifier.adjust_logits(torch.arange(7), 20, 0.3)
    labels = torch.tensor([6, 0, 3, 2])
    weight, bias = classifier.rows(labels)
    top = classifier.topk(features_BD, 7)
    expected = top.scores.gather(1, top.labels.argsort(dim=1))[:, labels]
    torch.testing.assert_close(features_BD @ weight.T + bias, expected)


def test_weights_of_a_half_are_found_by_row_and_term() -> None:
    half = learned(make_model())
    for postings in (half.centroids, *(level.postings for level in half.levels)):
        rows, terms = np.arange(postings.num_rows), np.arange(len(half.terms))
        dense = np.zeros((len(rows), len(terms)), np.float32)
        for node, (low, high) in enumerate(zip(postings.nodes, postings.nodes[1:], strict=False)):
            for place in range(low, high):
                for entry in range(postings.offsets[place], postings.offsets[place + 1]):
                    row = postings.first[node] + postings.rows[entry]
                    dense[row, postings.terms[place]] = postings.weights[entry] * postings.scale[row]
        assert dense.any() and np.array_equal(postings.at(rows, terms), dense)


def test_a_saved_model_explains_alike(tmp_path: Path) -> None:
    model = with_bigrams(lexical=True)
    model.save_pretrained(tmp_path)
    again = XMCModel.from_pretrained(tmp_path)
    (ours,), (theirs,) = model.explain(TEXT, ["l2"]), again.explain(TEXT, ["l2"])
    assert theirs.score == pytest.approx(ours.score, abs=1e-2)


def test_what_cannot_be_explained() -> None:
    model = with_bigrams(lexical=False)
    assert model.explain(TEXT, []) == []
    with pytest.raises(XMCError, match="label 'x' is none of the model's 7; give their ids"):
        model.explain(TEXT, ["l1", "x"])
    with pytest.raises(XMCError, match=r"wrap a single one: \[label\]"):
        model.explain(TEXT, "l1")
    with pytest.raises(XMCError, match="expected a string with at least one word"):
        model.explain(" ", ["l1"])
