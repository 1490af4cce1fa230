"""`XMCClassifier`: text classification with many labels behind the interface of a scikit-learn estimator."""

import logging
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from xmc.config import to_yaml
from xmc.config.shell import shell_command
from xmc.errors import XMCError
from xmc.estimator.documents import data_folder, names_of, write_documents, write_vocabulary
from xmc.estimator.given import Label, Labels, Texts, as_matrix, label_lists, plain, texts_of
from xmc.estimator.parameters import Parameters
from xmc.evaluate.metrics import ndcg_at_k, precision_at_k, recall_at_k
from xmc.machine import prepare_machine
from xmc.model import Prediction, Threshold, XMCModel
from xmc.spelling import near_miss
from xmc.train.log import read_log
from xmc.train.loop import Interrupted
from xmc.workflow.calibrating import Lists, calibrate
from xmc.workflow.settings import with_recipe
from xmc.workflow.training import train_run

METRICS = {"nDCG": ndcg_at_k, "P": precision_at_k, "R": recall_at_k}
_one_at_a_time = threading.Lock()  # torch's random numbers and its number of threads are the process's


class XMCClassifier(Parameters):
    """Learns which labels belong to a text, by the loop of `xmc train`.

    A parameter that is None has the default of `conf/`. `overrides` takes every other key of `xmc train`, as the
    command line does (`["encoder.width=512"]`) or as a dictionary; `set_params`, and so a grid, takes them one by one
    (`encoder__width`). Works with scikit-learn's `clone`, `Pipeline`, `cross_val_score` and `GridSearchCV`, and without
    scikit-learn.

    Texts are a sequence of strings, or a DataFrame, of which the text_columns are joined (None: all that hold texts).
    Labels are strings or integers, and come back as what they are: lists, or of a matrix [N, L] another, sparse where
    that was. k: labels of a prediction, and the cut-off of `score`. threshold: probability that a predicted label
    needs; None: none in lists and, in a matrix, what `calibrate` chose, else 0.5. classes: the vocabulary in its order,
    the columns of a label matrix; None: the labels that occur or, for a matrix, the names of its columns or their
    numbers.

    dev_fraction: share of the documents that chooses the best model; 0 learns from all and keeps the last. patience:
    measurements on them without a gain before training ends early. encoder: `bag`, `transformer`, or the folder or Hub
    id of one to fine-tune. verbose: 1 tells the run's progress on standard error. run: the folder of the run, which
    then is that of any `xmc train`; None: a temporary one, which cross-validation needs, since each fold is a run. Fits
    in several threads of a process take turns.

    Fitted, it has `model_`, an `XMCModel`, `classes_`, an array of L labels, and `history_`, the records of the run's
    log: a dictionary each, with the step and losses or figures on dev.
    """

    def __init__(
        self,
        *,
        k: int = 5,
        threshold: Threshold = None,
        classes: Sequence[Label] | NDArray[Any] | None = None,
        text_columns: Sequence[str] | None = None,
        encoder: str | Path | None = None,
        classifier: str | None = None,
        fan_in: int | None = None,
        sparsity: str | None = None,
        epochs: float | None = None,
        batch_size: int | None = None,
        dev_fraction: float | None = None,
        patience: int | None = None,
        seed: int | None = None,
        device: str | None = None,
        threads: int | None = None,
        verbose: int = 0,
        run: str | Path | None = None,
        overrides: Sequence[str] | Mapping[str, object] = (),
    ) -> None:
        self.k = k
        self.threshold = threshold
        self.classes = classes
        self.text_columns = text_columns
        self.encoder = encoder
        self.classifier = classifier
        self.fan_in = fan_in
        self.sparsity = sparsity
        self.epochs = epochs
        self.batch_size = batch_size
        self.dev_fraction = dev_fraction
        self.patience = patience
        self.seed = seed
        self.device = device
        self.threads = threads
        self.verbose = verbose
        self.run = run
        self.overrides = overrides

    def fit(self, texts: Texts, labels: Labels, validation_data: tuple[Texts, Labels] | None = None) -> Self:
        """Train on these documents. validation_data: what chooses the best model, instead of a part of them.

        Raises:
            XMCError: texts, labels or parameters that cannot be learned from, or a run folder that is taken.
            KeyboardInterrupt: the run was interrupted; with a run folder of one's own, `xmc train` goes on with it.
        """
        with _one_at_a_time, _telling(self.verbose), self._run_folder() as run:
            config = self.config(run)
            with data_folder(run) as data:
                names = names_of(labels, self.classes)
                classes = write_documents(data / "train.jsonl", texts, labels, names, self.text_columns)
                if names is not None or as_matrix(labels) is not None:
                    write_vocabulary(data / "labels.tsv", classes)
                if validation_data is not None:
                    own = write_documents(data / "dev.jsonl", *validation_data, names, self.text_columns)
                    classes = list(dict.fromkeys([*classes, *own]))
                config = with_recipe(config, self._given(run))
                try:
                    train_run(config, to_yaml(config))
                except Interrupted as stop:
                    go_on = shell_command("train", run=str(run), resume=True)
                    raise KeyboardInterrupt(f"go on with: {go_on}") from stop
            device = prepare_machine(config.trainer.device, config.trainer.threads)
            self._use(XMCModel.from_pretrained(run / "model", device=str(device)), classes)
            self.history_ = list(read_log(run / "log.jsonl"))
        self._matrix = None if as_matrix(labels) is None else "sparse" if sp.issparse(labels) else "dense"
        return self

    def predict(self, texts: Texts, k: int | None = None) -> Any:
        """The labels of each text: the k best, best first, in lists; without a k, a matrix where `fit` was given one.

        k: None is that of the estimator. Of them only those that reach the threshold.
        """
        predictions = self._predict(texts, k)
        if k is None and self._matrix is not None:
            return self._as_matrix(predictions)
        return [[self._own[p.label] for p in of_one] for of_one in predictions]

    def predict_proba(self, texts: Texts, k: int | None = None) -> sp.csr_matrix:
        """Probabilities of the k best labels of each text, float64 CSR [N, L], columns as in `classes_`."""
        return self._csr(self._fitted().predict(texts_of(texts, self.text_columns), self.k if k is None else k))

    def score(self, texts: Texts, labels: Labels, k: int | None = None, metric: str = "nDCG") -> float:
        """nDCG@k, from 0 to 1, which a perfect model reaches; at k=1 it is P@1. Labels never learned are missed.

        k: None is that of the estimator. metric: nDCG, P (whose ceiling is a document's labels over k) or R.
        """
        if metric not in METRICS:
            raise XMCError(f"metric: got {metric!r}{near_miss(metric, list(METRICS))}")
        k = self.k if k is None else k
        predicted, true = self._ranked(texts, k), self._true(labels)
        if len(predicted) != len(true) or not true:
            raise XMCError(f"score takes as many texts as labels, at least 1; got {len(predicted)} and {len(true)}")
        unseen = {label for of_one in true for label in of_one} - set(self._own.values())
        column = {label: i for i, label in enumerate([*self._own.values(), *unseen])}
        ranked = np.full((len(true), k), -1)
        for row, best in zip(ranked, predicted, strict=True):
            row[: len(best)] = [column[self._own[p.label]] for p in best]
        return float(METRICS[metric](ranked, _truth(true, column), k)[-1])

    def calibrate(
        self, texts: Texts, labels: Labels, k: int = 20, precision: float | None = None, per_label: bool = False
    ) -> Self:
        """Fit probabilities and thresholds to documents that the model has not learned from; see `xmc calibrate`.

        k: best labels of a document that are fitted to. precision: share of assigned labels that must be right; None:
        the best micro-F1. per_label: a threshold for each label with ten documents or more.
        """
        model = self._fitted()
        model.calibration = None
        ranked, true = self._ranked(texts, k), self._true(labels)
        column = {label: i for i, label in enumerate(self._own.values())}
        places, logits = np.full((len(true), k), -1), np.full((len(true), k), -np.inf)
        for row, best in enumerate(ranked):
            places[row, : len(best)] = [column[self._own[p.label]] for p in best]
            logits[row, : len(best)] = [p.logit for p in best]
        known = [[label for label in of_one if label in column] for of_one in true]
        lists = Lists(places, logits, _truth(known, column))
        fitted = calibrate(model, lists, (1, 3, 5), precision=precision, per_label=per_label, min_positives=10)
        model.calibration = fitted.calibration
        return self

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the model's folder; see `XMCModel`."""
        self._fitted().save_pretrained(folder)

    @classmethod
    def from_pretrained(cls, folder: str | Path, **parameters: Any) -> Self:
        """A fitted estimator from a model's folder or a repository of the Hugging Face Hub, with these parameters."""
        estimator, model = cls(**parameters), XMCModel.from_pretrained(folder)
        classes = plain(model.label_ids if estimator.classes is None else estimator.classes)
        if set(map(str, classes)) != set(model.label_ids):
            raise XMCError(f"classes has {len(classes)} labels, which are not the {len(model.label_ids)} of {folder}")
        return estimator._use(model, classes)

    def push_to_hub(self, repo_id: str, **arguments: Any) -> str:
        """Upload the model to the Hugging Face Hub; see `XMCModel.push_to_hub`."""
        return self._fitted().push_to_hub(repo_id, **arguments)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def __sklearn_tags__(self) -> Any:
        """No kind of estimator that scikit-learn knows: its classifiers' labels are an array."""
        from sklearn.utils import InputTags, Tags, TargetTags

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=True, multi_output=True),
            input_tags=InputTags(two_d_array=False, string=True),
        )

    _matrix: str | None = None

    def _use(self, model: XMCModel, classes: Iterable[Label]) -> Self:
        """Take a model; where one of these is its label but for the type, that is what it is called from now on."""
        own = {str(label): label for label in classes}
        self.model_ = model
        self._own = {label: own.get(label, label) for label in model.label_ids}
        self._matrix = None
        labels = list(self._own.values())
        self.classes_ = np.array(labels, dtype=object if any(isinstance(label, str) for label in labels) else None)
        return self

    def _fitted(self) -> XMCModel:
        if not self.__sklearn_is_fitted__():
            raise XMCError("this XMCClassifier is not fitted; call fit(texts, labels), or load one: from_pretrained")
        return self.model_

    def _predict(self, texts: Texts, k: int | None) -> list[list[Prediction]]:
        model, threshold = self._fitted(), self.threshold
        if threshold is None and k is None and self._matrix is not None:
            threshold = 0.5 if model.calibration is None else "auto"
        return model.predict(texts_of(texts, self.text_columns), self.k if k is None else k, threshold=threshold)

    def _ranked(self, texts: Texts, k: int) -> list[list[Prediction]]:
        return self._fitted().predict(texts_of(texts, self.text_columns), k)

    def _true(self, labels: Labels) -> list[list[Label]]:
        """The labels of each document and those that the model has above them, as documents have in training."""
        own, known = list(self._own.values()), self._fitted().above
        above: dict[Label, list[Label]] = {}
        for below, over in [] if known is None else known.tolist():
            above.setdefault(own[below], []).append(own[over])
        given = label_lists(labels, names_of(labels, self.classes))
        return [list(dict.fromkeys([*row, *(one for label in row for one in above.get(label, ()))])) for row in given]

    def _csr(self, predictions: Sequence[Sequence[Prediction]]) -> sp.csr_matrix:
        """Their probabilities, float64 CSR [N, L]."""
        column = {label: i for i, label in enumerate(self._own)}
        indices = [column[p.label] for row in predictions for p in row]
        values = [p.score for row in predictions for p in row]
        indptr = np.cumsum([0, *map(len, predictions)])
        matrix = sp.csr_matrix((values, indices, indptr), shape=(len(predictions), len(column)), dtype=np.float64)
        matrix.sort_indices()
        return matrix

    def _as_matrix(self, predictions: Sequence[Sequence[Prediction]]) -> Any:
        """Of ones and zeros, int64 [N, L]."""
        matrix = self._csr(predictions)
        matrix = sp.csr_matrix((np.ones(matrix.nnz, np.int64), matrix.indices, matrix.indptr), shape=matrix.shape)
        return matrix if self._matrix == "sparse" else matrix.toarray()

    @contextmanager
    def _run_folder(self) -> Iterator[Path]:
        if self.run is not None:
            yield Path(self.run)
            return
        with tempfile.TemporaryDirectory(prefix="xmc-") as folder:
            yield Path(folder)


def _truth(labels: Sequence[Sequence[Label]], column: Mapping[Label, int]) -> sp.csr_matrix:
    columns = [column[label] for of_one in labels for label in of_one]
    indptr = np.cumsum([0, *map(len, labels)])
    return sp.csr_matrix((np.ones(len(columns)), columns, indptr), shape=(len(labels), len(column)))


@contextmanager
def _telling(verbose: int) -> Iterator[None]:
    """Meanwhile the progress is told on standard error, if it is asked for."""
    if not verbose:
        yield
        return
    told, handler = logging.getLogger("xmc"), logging.StreamHandler(sys.stderr)
    level = told.level
    told.addHandler(handler)
    told.setLevel(logging.INFO)
    try:
        yield
    finally:
        told.removeHandler(handler)
        told.setLevel(level)
