"""XMCClassifier alone, and where scikit-learn is, in its hands."""

import ast
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

import xmc
from xmc import XMCClassifier, XMCError, XMCModel
from xmc.config import load_run_config
from xmc.train.loop import Interrupted

CLASSES = ["birds", "fish", "trees"]
WORDS = {"birds": ["wing", "nest", "egg"], "fish": ["fin", "gill", "sea"], "trees": ["leaf", "root", "bark"]}
SMALL: dict[str, Any] = {
    "k": 1,
    "fan_in": 8,
    "epochs": 6,
    "batch_size": 16,
    "threads": 1,
    "overrides": ["encoder.width=16", "trainer.eval_every=100", "sparsity=static"],
}


def documents(count: int, seed: int = 0) -> tuple[list[str], list[list[str]]]:
    rng = random.Random(seed)
    labels = [rng.sample(CLASSES, rng.choice([1, 2])) for _ in range(count)]
    return [" ".join(rng.choice(WORDS[label]) for label in row for _ in range(5)) for row in labels], labels


TEXTS, LABELS = documents(90)


@pytest.fixture(scope="module")
def fitted() -> XMCClassifier:
    return XMCClassifier(**SMALL).fit(TEXTS, LABELS)


def test_predictions(fitted: XMCClassifier) -> None:
    texts, labels = documents(40, seed=1)
    assert fitted.score(texts, labels) > 0.9
    hits = [row[0] in truth for row, truth in zip(fitted.predict(texts), labels, strict=True)]
    assert fitted.score(texts, labels) == pytest.approx(np.mean(hits))
    assert fitted.predict(texts[:1], k=9)[0] == [p.label for p in fitted.model_.predict(texts[:1], k=9)[0]]


def test_probabilities_are_sparse(fitted: XMCClassifier) -> None:
    matrix = fitted.predict_proba(TEXTS[:5], k=2)
    assert sp.issparse(matrix) and matrix.shape == (5, 3) and np.diff(matrix.indptr).tolist() == [2] * 5
    for row, predictions in zip(matrix.toarray(), fitted.model_.predict(TEXTS[:5], k=2), strict=True):
        assert [row[CLASSES.index(p.label)] for p in predictions] == [p.score for p in predictions]


def test_labels_that_were_never_seen_are_missed(fitted: XMCClassifier) -> None:
    assert fitted.score(TEXTS[:4], [["stone"]] * 4) == 0
    more = [[*row, "stone"] for row in LABELS[:4]]
    assert fitted.score(TEXTS[:4], more, k=3, metric="P") == fitted.score(TEXTS[:4], LABELS[:4], k=3, metric="P")
    assert fitted.score(TEXTS[:4], more, k=3) < 0.8 < fitted.score(TEXTS[:4], LABELS[:4], k=3)


@pytest.fixture(scope="module")
def nested() -> XMCClassifier:
    """Fitted to labels that imply `life`."""
    estimator = XMCClassifier(**SMALL).set_params(data__parents=" > ")
    return estimator.fit(TEXTS, [[f"life > {label}" for label in row] for row in LABELS])


def test_truth_is_given_the_labels_above_its_own(nested: XMCClassifier) -> None:
    texts, labels = documents(40, seed=1)
    own = [[f"life > {label}" for label in row] for row in labels]
    closed = [[*row, "life"] for row in own]
    assert nested.score(texts, own, k=3) == nested.score(texts, closed, k=3) > 0.9
    assert nested.score(texts, own, k=1) == 1
    probabilities = []
    for truth in (own, closed):
        estimator = XMCClassifier()._use(nested.model_, nested.classes_)
        probabilities.append(estimator.calibrate(texts, truth, k=4).predict_proba(texts, k=4).toarray())
    np.testing.assert_array_equal(*probabilities)
    life = list(nested.classes_).index("life")
    assert probabilities[0][:, life].mean() > 0.9
    nested.model_.calibration = None


def test_a_dictionary_is_no_texts(fitted: XMCClassifier) -> None:
    with pytest.raises(XMCError, match="texts is a dict; give a list of texts"):
        fitted.predict({"text": TEXTS})


def test_the_score_can_reach_one(fitted: XMCClassifier) -> None:
    """Where documents have fewer labels than a prediction, P@k cannot."""
    predicted = fitted.predict(TEXTS, k=1)
    assert fitted.score(TEXTS, predicted, k=3) == fitted.score(TEXTS, predicted) == 1
    assert fitted.score(TEXTS, predicted, k=3, metric="P") == pytest.approx(1 / 3)
    assert fitted.score(TEXTS, predicted, k=3, metric="R") == 1
    with pytest.raises(XMCError, match=r"metric: got 'ndcg'; did you mean 'nDCG'\?"):
        fitted.score(TEXTS, LABELS, metric="ndcg")
    with pytest.raises(XMCError, match="as many texts as labels, at least 1; got 2 and 3"):
        fitted.score(TEXTS[:2], LABELS[:3])
    with pytest.raises(XMCError, match="at least 1; got 0 and 0"):
        fitted.score([], [])


def test_lists_sets_and_matrices_are_learned_alike(fitted: XMCClassifier) -> None:
    dense = np.array([[label in row for label in CLASSES] for row in LABELS], dtype=np.float32)
    matrix = sp.csr_matrix(np.ones_like(dense))
    matrix.data = dense.ravel()  # zeros that are stored
    expected = fitted.predict_proba(TEXTS, k=3).toarray()
    by_sets = XMCClassifier(**SMALL).fit(TEXTS, [set(row) for row in LABELS])
    assert (by_sets.predict_proba(TEXTS, k=3).toarray() == expected).all()
    named = XMCClassifier(**SMALL, classes=CLASSES).fit(TEXTS, matrix)
    assert named.classes_.tolist() == CLASSES
    assert (named.predict_proba(TEXTS, k=3).toarray() == expected).all()
    assert named.score(TEXTS, matrix) == fitted.score(TEXTS, LABELS)


def test_the_callers_matrix_stays_as_it_is(tmp_path: Path) -> None:
    """Memory-mapped and read-only, with zeros that are stored, and neither sorted nor without repetitions."""
    np.save(tmp_path / "data.npy", np.array([1, 0, 1, 1, 1] * 18, dtype=np.float32))
    np.save(tmp_path / "indices.npy", np.array([2, 1, 0, 1, 1] * 18, dtype=np.int32))
    data, indices = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("data", "indices"))
    indptr = np.array([0, *(end for start in range(0, 90, 5) for end in (start + 3, start + 5))], dtype=np.int32)
    matrix = sp.csr_matrix((data, indices, indptr), shape=(36, 3), copy=False)
    fitted = XMCClassifier(**SMALL).fit(["leaf wing", "fin"] * 18, matrix)
    assert matrix.nnz == 90 and np.shares_memory(matrix.data, data)
    assert [set(row) for row in fitted.predict(["leaf wing", "fin"], k=1)] in ([{0}, {1}], [{2}, {1}])
    assert fitted.predict(["fin"]).toarray().tolist() == [[0, 1, 0]]
    assert fitted.score(["leaf wing", "fin"] * 18, matrix, k=3) == 1 and matrix.nnz == 90


def test_integer_labels_come_back_as_such(fitted: XMCClassifier) -> None:
    number = {label: 10 + i for i, label in enumerate(CLASSES)}
    numbers = [[number[label] for label in row] for row in LABELS]
    by_lists = XMCClassifier(**SMALL).fit(TEXTS, numbers)
    assert by_lists.classes_.dtype.kind == "i" and by_lists.classes_.tolist() == [10, 11, 12]
    assert by_lists.predict(TEXTS) == [[number[label] for label in row] for row in fitted.predict(TEXTS)]
    assert by_lists.score(TEXTS, numbers) == fitted.score(TEXTS, LABELS)
    dense = np.array([[label in row for label in CLASSES] for row in LABELS])
    by_columns = XMCClassifier(**SMALL).fit(np.array(TEXTS), dense)
    assert by_columns.classes_.tolist() == [0, 1, 2]
    assert by_columns.predict(TEXTS, k=1) == [[n - 10 for n in row] for row in by_lists.predict(TEXTS)]
    assert by_columns.score(TEXTS, dense) == fitted.score(TEXTS, LABELS)


def test_classes_may_be_an_array(fitted: XMCClassifier, tmp_path: Path) -> None:
    estimator = XMCClassifier(classes=np.array([30, 10, 20]), k=2)
    assert repr(estimator) == "XMCClassifier(k=2, classes=array([30, 10, 20]))"
    assert repr(XMCClassifier(classes=np.array(CLASSES))).startswith("XMCClassifier(classes=array(['birds'")
    fitted.save_pretrained(tmp_path / "model")
    assert XMCClassifier.from_pretrained(tmp_path / "model", classes=np.array(CLASSES)).predict(
        TEXTS[:3], k=1
    ) == fitted.predict(TEXTS[:3])
    with pytest.raises(XMCError, match="classes has 2 labels, which are not the 3 of"):
        XMCClassifier.from_pretrained(tmp_path / "model", classes=CLASSES[:2])


def test_fits_in_threads_are_those_of_one(fitted: XMCClassifier) -> None:
    with ThreadPoolExecutor(2) as pool:
        models = [pool.submit(XMCClassifier(**SMALL).fit, TEXTS, LABELS) for _ in range(2)]
        probabilities = [model.result().predict_proba(TEXTS, k=3).toarray() for model in models]
    expected = fitted.predict_proba(TEXTS, k=3).toarray()
    assert all((found == expected).all() for found in probabilities)


def test_a_failed_fit_leaves_its_folder_free(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    estimator = XMCClassifier(**SMALL, run=tmp_path / "run")
    with pytest.raises(XMCError, match="empty text"):
        estimator.fit(["a b", " "], [["fish"], ["birds"]])
    assert estimator.fit(TEXTS, LABELS).score(TEXTS, LABELS) > 0.9
    assert "documents, so that chance chooses the best model; raise data.dev_fraction" in caplog.text


def test_a_run_folder_is_that_of_a_run(tmp_path: Path, fitted: XMCClassifier) -> None:
    run = tmp_path / "run"
    estimator = XMCClassifier(**SMALL, run=run).fit(TEXTS, LABELS)
    assert load_run_config(str(run)).classifier.fan_in == 8
    assert XMCModel.from_pretrained(run / "model").predict(TEXTS[:3]) == fitted.model_.predict(TEXTS[:3])
    before = (run / "data" / "train.jsonl").read_text()
    with pytest.raises(XMCError, match="already holds a run; give another folder, or run=None"):
        estimator.fit(TEXTS[:50], LABELS[:50])
    assert (run / "data" / "train.jsonl").read_text() == before


def test_saved_and_loaded(tmp_path: Path, fitted: XMCClassifier) -> None:
    fitted.save_pretrained(tmp_path / "model")
    again = XMCClassifier.from_pretrained(tmp_path / "model", k=2)
    assert again.predict(TEXTS) == fitted.predict(TEXTS, k=2)
    assert again.classes_.tolist() == CLASSES


def test_parameters_are_those_of_conf(tmp_path: Path) -> None:
    default = XMCClassifier().config(tmp_path)
    assert default.trainer.epochs == 8 and default.encoder.kind == "bag"
    mapping = {"trainer.metric": "P@1", "metrics.ks": [1, 2], "tracking": "none", "trainer.clip_norm": None}
    config = XMCClassifier(classifier="dense", seed=3, overrides=mapping).config(tmp_path)
    assert (config.classifier.kind, config.seed, config.metrics.ks) == ("dense", 3, (1, 2))
    assert (config.trainer.metric, config.trainer.clip_norm) == ("P@1", None)
    with pytest.raises(XMCError, match=r"did you mean 'trainer.epochs'"):
        XMCClassifier(overrides=["trainer.epoch=3"]).config(tmp_path)
    with pytest.raises(XMCError, match=r"trainer.batch_size: got 0"):
        XMCClassifier(batch_size=0).config(tmp_path)


@pytest.mark.parametrize(
    ("texts", "labels", "told"),
    [
        (["a b"], [["x"], ["y"]], "as many texts as labels, got 1 and 2"),
        (["a b", "c d"], ["x", "y"], r"labels\[0\] is 'x'; expected a list or set of labels"),
        (["a b"], [[3.5]], r"labels\[0\] is \[3.5\]; expected a list or set of labels"),
        (["a b"], [[True]], r"labels\[0\] is \[True\]"),
        (["a b"], [3], r"labels\[0\] is 3"),
        (["a b"], ["fish;birds"], r"labels\[0\] is 'fish;birds'; .*: of a Series of texts, labels.str.split\(';'\)"),
        (["a b"], [float("nan")], r"labels\[0\] is nan; expected a list .*, or \[\] for none"),
        ("a b", [["fish"]], r"texts is one string, 'a b'; give a list of texts: \[text\]"),
        ([3], [["fish"]], r"texts\[0\] is 3; expected a string"),
        (["a", float("nan")], [["fish"]] * 2, r"texts\[1\] is nan; expected a string: drop such rows, with their"),
        (["a b"], [[3]], "'3'"),
        (["a b", "c d"], np.array([[2, 3], [1, 4]]), "an array of other than 0 and 1"),
        (["a b", None], [["fish"], ["fish"]], r"texts\[1\] is None; expected a string"),
        (["a b"], sp.csr_matrix([[1, 0]]), "labels has 2 columns, classes 3 names"),
        (["a b", " "], [["fish"], ["birds"]], "empty text"),
    ],
)
def test_mistakes(texts: list[str], labels: Any, told: str) -> None:
    with pytest.raises(XMCError, match=told):
        XMCClassifier(**SMALL, classes=CLASSES).fit(texts, labels)


def test_interrupted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def stop(config: object, config_yaml: str) -> None:
        raise Interrupted(2)

    monkeypatch.setattr("xmc.estimator.classifier.train_run", stop)
    with pytest.raises(KeyboardInterrupt, match=r"go on with: xmc train run=.*run resume=true"):
        XMCClassifier(**SMALL, run=tmp_path / "run").fit(TEXTS, LABELS)


def test_not_fitted() -> None:
    with pytest.raises(XMCError, match="is not fitted"):
        XMCClassifier().predict(["a text"])


def test_names_of_parameters() -> None:
    estimator = XMCClassifier(fan_in=4)
    assert estimator.set_params(epochs=2) is estimator
    assert estimator.get_params()["epochs"] == 2 and repr(estimator) == "XMCClassifier(fan_in=4, epochs=2)"
    with pytest.raises(XMCError, match="did you mean 'epochs'"):
        estimator.set_params(epoch=2)
    with pytest.raises(XMCError, match="did you mean 'encoder__width'"):
        estimator.set_params(encoder__widht=2)


@pytest.mark.parametrize("overrides", [["encoder.width=8", "loss=bce"], {"encoder.width": 8, "loss": "bce"}])
def test_any_key_is_a_parameter(overrides: Any, tmp_path: Path) -> None:
    estimator = XMCClassifier(overrides=overrides)
    for number, name in enumerate(("encoder__width", "encoder.width"), 16):
        estimator.set_params(**{name: number})
        config = XMCClassifier(**estimator.get_params()).config(tmp_path)
        assert (config.encoder.width, config.loss) == (number, "bce")
    assert overrides in (["encoder.width=8", "loss=bce"], {"encoder.width": 8, "loss": "bce"})


def test_an_encoder_may_be_a_folder_or_of_the_hub(tmp_path: Path) -> None:
    for name in (tmp_path / "encoder", str(tmp_path / "encoder"), "owner/encoder"):
        encoder = XMCClassifier(encoder=name).config(tmp_path).encoder
        assert (encoder.kind, encoder.name) == ("transformer", str(name))
    with pytest.raises(XMCError, match="encoder: got 'bagg'; did you mean 'bag'"):
        XMCClassifier(encoder="bagg").config(tmp_path)


def test_tables(fitted: XMCClassifier) -> None:
    pandas = pytest.importorskip("pandas")
    halves = [text.split(" ", 1) for text in TEXTS]
    table = pandas.DataFrame({"price": range(90), "title": [a for a, _ in halves], "text": [b for _, b in halves]})
    table.index += 1000
    table.loc[1000, "title"] = None
    labels = pandas.Series(LABELS, index=table.index)
    by_table = XMCClassifier(**SMALL).fit(table, labels)
    assert by_table.score(table, labels) > 0.9
    assert by_table.predict(table[:3]) == by_table.predict(table[["title", "text"]][:3])
    with pytest.raises(XMCError, match="text_columns: no column 'titel'; did you mean 'title'"):
        XMCClassifier(text_columns=["titel"]).fit(table, labels)
    with pytest.raises(XMCError, match="the table has no column of texts, only 'price'; give one"):
        by_table.predict(table[["price"]])
    with pytest.raises(XMCError, match=r"texts\[0\] is nan; expected a string"):
        XMCClassifier(text_columns=["title"]).fit(table, labels)
    array = table[["title", "text"]].to_numpy(dtype=object)
    assert by_table.predict(array[:3]) == by_table.predict(table[:3])

    named = pandas.DataFrame([[label in row for label in CLASSES] for row in LABELS], columns=CLASSES)
    by_columns = XMCClassifier(**SMALL).fit(TEXTS, named)
    assert by_columns.classes_.tolist() == CLASSES
    assert by_columns.predict(TEXTS, k=1) == fitted.predict(TEXTS)
    assert by_columns.score(TEXTS, named) == fitted.score(TEXTS, LABELS)


def test_validation_data_early_stopping_and_history(capsys: pytest.CaptureFixture[str]) -> None:
    texts, labels = documents(40, seed=1)
    small = SMALL | {"epochs": 200, "patience": 2, "verbose": 1}
    estimator = (
        XMCClassifier(**small).set_params(trainer__eval_every=5).fit(TEXTS, LABELS, validation_data=(texts, labels))
    )
    dev = [record for record in estimator.history_ if any(key.startswith("dev/") for key in record)]
    assert 2 <= len(dev) < 40 and dev[0]["step"] == 5
    told = capsys.readouterr().err
    assert "stopping early: no gain in 2 evaluations" in told
    with pytest.raises(XMCError, match=r"texts\[1\]: empty text"):
        XMCClassifier(**SMALL).fit(TEXTS, LABELS, validation_data=(["a", ""], [["fish"]] * 2))


def test_calibrate(fitted: XMCClassifier, tmp_path: Path) -> None:
    texts, labels = documents(120, seed=2)
    dense = np.array([[label in row for label in CLASSES] for row in LABELS])
    estimator = XMCClassifier(**SMALL | {"k": 3}).fit(TEXTS, dense)
    assert estimator.calibrate(texts, np.array([[label in row for label in CLASSES] for row in labels])) is estimator
    truth = [[label in row for label in CLASSES] for row in LABELS]
    assert (estimator.predict(TEXTS) == truth).mean() > 0.9, "at the threshold, not at 0.5"
    estimator.save_pretrained(tmp_path / "model")
    again = XMCClassifier.from_pretrained(tmp_path / "model", threshold="auto", k=3)
    assert [{int(label) for label in row} for row in again.predict(TEXTS)] == [
        set(np.flatnonzero(row).tolist()) for row in estimator.predict(TEXTS)
    ]


ON_NUMBERS = "fits a matrix of numbers, and the estimator takes texts"
DO_NOT_APPLY = {
    "check_dont_overwrite_parameters": ON_NUMBERS,
    "check_estimators_fit_returns_self": ON_NUMBERS,
    "check_estimators_overwrite_params": ON_NUMBERS,
    "check_estimators_unfitted": ON_NUMBERS,
    "check_fit_score_takes_y": ON_NUMBERS,
    "check_n_features_in_after_fitting": ON_NUMBERS,
    "check_positive_only_tag_during_fit": ON_NUMBERS,
    "check_readonly_memmap_input": ON_NUMBERS,
}
"""Checks of scikit-learn's own interface, and why they do not. `check_estimator` itself skips all that fit data."""


@pytest.mark.filterwarnings("ignore:Estimator XMCClassifier does not inherit", "ignore:Can't test estimator")
def test_the_checks_of_scikit_learn_that_apply() -> None:
    checks = pytest.importorskip("sklearn.utils.estimator_checks")
    assert {check["status"] for check in checks.check_estimator(XMCClassifier())} == {"passed"}
    of_interface = {
        getattr(check, "func", check).__name__: check for check in checks._yield_api_checks(XMCClassifier())
    }
    for name in ("parameters_default_constructible", "get_params_invariance", "set_params", "estimator_cloneable"):
        of_interface[f"check_{name}"] = getattr(checks, f"check_{name}")
    assert DO_NOT_APPLY.keys() <= of_interface.keys()
    for name in of_interface.keys() - DO_NOT_APPLY.keys():
        of_interface[name]("XMCClassifier", XMCClassifier())


def test_scikit_learn(tmp_path: Path) -> None:
    joblib = pytest.importorskip("joblib")
    pytest.importorskip("sklearn")
    from sklearn.base import clone
    from sklearn.model_selection import cross_val_predict, cross_val_score

    estimator = XMCClassifier(**SMALL)
    copy = clone(estimator)
    assert copy is not estimator and copy.get_params() == estimator.get_params()
    assert clone(XMCClassifier(classes=np.array(CLASSES))).classes.tolist() == CLASSES
    assert cross_val_score(estimator, TEXTS, LABELS, cv=2).min() > 0.8
    with joblib.parallel_backend("threading"):
        assert cross_val_score(estimator, TEXTS, LABELS, cv=2, n_jobs=2).min() > 0.8
    predicted = cross_val_predict(estimator, TEXTS, LABELS, cv=2)
    assert predicted.shape == (len(TEXTS), 1)
    dense = np.array([[label in row for label in CLASSES] for row in LABELS])
    assert cross_val_predict(estimator, TEXTS, dense, cv=2, method="predict_proba").shape == (len(TEXTS), 3)
    assert np.mean([row[0] in truth for row, truth in zip(predicted, LABELS, strict=True)]) > 0.8
    with pytest.raises(XMCError, match="run=None, so that each fit has one of its own"):
        cross_val_score(XMCClassifier(**SMALL, run=tmp_path / "run"), TEXTS, LABELS, cv=2, error_score="raise")


@pytest.mark.slow
def test_scikit_learn_searches() -> None:
    """In a pipeline, and by several scores at once."""
    pytest.importorskip("sklearn")
    from sklearn.model_selection import GridSearchCV, cross_validate
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer
    from sklearn.utils.validation import check_is_fitted

    estimator = XMCClassifier(**SMALL)
    shouted = FunctionTransformer(lambda texts: [text.upper() for text in texts])
    rates = [1e-9, 0.1]
    search = GridSearchCV(make_pipeline(shouted, estimator), {"xmcclassifier__encoder__embedding_lr": rates}, cv=2)
    search.fit(TEXTS, LABELS)
    assert search.best_params_ == {"xmcclassifier__encoder__embedding_lr": rates[1]}
    assert search.score(TEXTS, LABELS) > 0.9
    check_is_fitted(search.best_estimator_)
    scorings = ["f1_micro", "f1_samples", "accuracy"]
    dense = np.array([[label in row for label in CLASSES] for row in LABELS])
    scores = cross_validate(XMCClassifier(**SMALL | {"k": 2}), TEXTS, dense, cv=2, scoring=scorings)
    assert all(scores[f"test_{scoring}"].min() > 0.7 for scoring in scorings)


def test_scikit_learn_is_not_needed(fitted: XMCClassifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    copy = XMCClassifier(**fitted.get_params()).fit(TEXTS, LABELS)
    assert copy.score(TEXTS, LABELS) == fitted.score(TEXTS, LABELS)


def test_the_package_is_light_until_it_is_used() -> None:
    top_level = ast.parse(Path(xmc.__file__).read_text()).body
    imported = [node.module for node in top_level if isinstance(node, ast.ImportFrom)]
    assert imported == ["typing", "xmc.errors", "xmc.threads"]
    assert not any(isinstance(node, ast.Import) for node in top_level)


APPLICATION = """
import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig

from xmc import XMCClassifier


def app(cfg):
    texts = ["Bees of the Alps", "Trout and salmon", "Alpine lakes and their trout"] * 20
    labels = [["apidae", "alps"], ["fish"], ["alps", "fish"]] * 20
    classifier = XMCClassifier(epochs=cfg.epochs, overrides=["encoder.width=64"]).fit(texts, labels)
    print(classifier.predict(["Trout and salmon"], k=1), HydraConfig.get().job.name, dict(cfg))


ConfigStore.instance().store(name="own", node={"epochs": 2})
hydra.main(config_path=None, config_name="own", version_base=None)(app)()
"""


@pytest.mark.slow
def test_inside_an_application_of_hydra(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APPLICATION)
    command = [sys.executable, "app.py", "-m", "epochs=1,3"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    for epochs in (1, 3):
        assert f"[['fish']] app {{'epochs': {epochs}}}" in done.stdout
