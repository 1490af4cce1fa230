"""`XMCClassifier`: text classification with many labels behind the interface of a scikit-learn estimator."""

import inspect
import json
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import scipy.sparse as sp

from xmc import build, commands
from xmc.config import TrainConfig, near_miss, parse
from xmc.config.compose import as_override, compose, to_yaml
from xmc.evaluate.metrics import precision_at_k
from xmc.model import Prediction, XMCModel
from xmc.train.loop import Interrupted
from xmc.types import XMCError

Labels = Sequence[Collection[str]] | sp.csr_matrix | sp.csr_array
"""Labels of N documents: a list or set of ids each, or a CSR matrix [N, L] of what is not 0."""

KEYS = {
    "encoder": "encoder",
    "classifier": "classifier",
    "fan_in": "classifier.fan_in",
    "sparsity": "sparsity",
    "epochs": "trainer.epochs",
    "batch_size": "trainer.batch_size",
    "dev_fraction": "data.dev_fraction",
    "seed": "seed",
    "device": "trainer.device",
    "threads": "trainer.threads",
}


class XMCClassifier:
    """Learns which labels belong to a text, by the loop of `xmc train`.

    A parameter that is None has the default of `conf/`. `overrides` takes every other key of `xmc train`, as the
    command line does (`["encoder.width=512"]`) or as a dictionary. Works with scikit-learn's `clone`, `Pipeline`,
    `cross_val_score` and `GridSearchCV`, and without scikit-learn.

    k: labels of a prediction, and the cut-off of `score`. classes: the vocabulary in its order, the columns of a label
    matrix; None: the labels that occur or, for a matrix, its columns' numbers. dev_fraction: share of the documents
    that chooses the best model; 0 learns from all and keeps the last. run: the folder of the run, which then is that of
    any `xmc train`; None: a temporary one.

    Fitted, it has `model_`, an `XMCModel`, and `classes_`, an array of L label ids.
    """

    def __init__(
        self,
        *,
        k: int = 5,
        classes: Sequence[str] | None = None,
        encoder: str | None = None,
        classifier: str | None = None,
        fan_in: int | None = None,
        sparsity: str | None = None,
        epochs: float | None = None,
        batch_size: int | None = None,
        dev_fraction: float | None = None,
        seed: int | None = None,
        device: str | None = None,
        threads: int | None = None,
        run: str | Path | None = None,
        overrides: Sequence[str] | Mapping[str, object] = (),
    ) -> None:
        self.k = k
        self.classes = classes
        self.encoder = encoder
        self.classifier = classifier
        self.fan_in = fan_in
        self.sparsity = sparsity
        self.epochs = epochs
        self.batch_size = batch_size
        self.dev_fraction = dev_fraction
        self.seed = seed
        self.device = device
        self.threads = threads
        self.run = run
        self.overrides = overrides

    def fit(self, texts: Sequence[str], labels: Labels) -> Self:
        """Train on these documents.

        Raises:
            XMCError: texts, labels or parameters that cannot be learned from, or a run folder that is taken.
            KeyboardInterrupt: the run was interrupted; with a run folder of one's own, `xmc train` goes on with it.
        """
        with self._run_folder() as run:
            config = self.config(run)
            commands.check_run_folder(run, resume=False)
            classes = self._write_documents(run / "data", texts, labels)
            if classes is not None:
                _write_vocabulary(run / "data" / "labels.tsv", classes)
            try:
                commands.train_run(config, to_yaml(config))
            except Interrupted as stop:
                raise KeyboardInterrupt(f"go on with: xmc train run={run} resume=true") from stop
            device = build.prepare_machine(config.trainer.device, config.trainer.threads)
            self._use(XMCModel.from_pretrained(run / "model", device=str(device)))
        return self

    def predict(self, texts: Sequence[str], k: int | None = None) -> list[list[str]]:
        """The k best labels of each text, best first. k: None is that of the estimator."""
        return [[p.label for p in predictions] for predictions in self._predict(texts, k)]

    def predict_proba(self, texts: Sequence[str], k: int | None = None) -> sp.csr_matrix:
        """Probabilities of the k best labels of each text, float64 CSR [N, L], columns as in `classes_`."""
        predictions = self._predict(texts, k)
        column = {label: i for i, label in enumerate(self.classes_.tolist())}
        indices = [column[p.label] for row in predictions for p in row]
        values = [p.score for row in predictions for p in row]
        indptr = np.cumsum([0, *map(len, predictions)])
        matrix = sp.csr_matrix((values, indices, indptr), shape=(len(predictions), len(column)), dtype=np.float64)
        matrix.sort_indices()
        return matrix

    def score(self, texts: Sequence[str], labels: Labels, k: int | None = None) -> float:
        """P@k: the share of true labels among the k best of each text, averaged. k: None is that of the estimator."""
        k = self.k if k is None else k
        column = {label: i for i, label in enumerate(self.classes_.tolist())}
        ranked = np.full((len(texts), k), -1)
        for row, predicted in zip(ranked, self.predict(texts, k), strict=True):
            row[: len(predicted)] = [column[label] for label in predicted]
        known = [sorted({column[y] for y in of_one if y in column}) for of_one in _label_lists(labels, self.classes)]
        indptr = np.cumsum([0, *map(len, known)])
        truth = sp.csr_matrix((np.ones(indptr[-1]), np.concatenate([[], *known]), indptr), (len(known), len(column)))
        return float(precision_at_k(ranked, truth, k)[-1])

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the model's folder; see `XMCModel`."""
        self._fitted().save_pretrained(folder)

    @classmethod
    def from_pretrained(cls, folder: str | Path, **parameters: Any) -> Self:
        """A fitted estimator from a model's folder or a repository of the Hugging Face Hub, with these parameters."""
        return cls(**parameters)._use(XMCModel.from_pretrained(folder))

    def push_to_hub(self, repo_id: str, **arguments: Any) -> str:
        """Upload the model to the Hugging Face Hub; see `XMCModel.push_to_hub`."""
        return self._fitted().push_to_hub(repo_id, **arguments)

    def config(self, run: str | Path) -> TrainConfig:
        """The configuration with which `fit` would train in this folder: `conf/`, the parameters, the overrides."""
        own: dict[str, object] = {"data": "jsonl", "data.root": str(run / Path("data")), "run": str(run)}
        own |= {"data.cache_dir": str(run / Path("cache"))}
        own |= {key: getattr(self, name) for name, key in KEYS.items() if getattr(self, name) is not None}
        lines = [as_override(key, value) for key, value in own.items()]
        if isinstance(self.overrides, Mapping):
            lines += [as_override(key, value) for key, value in self.overrides.items()]
        else:
            lines += self.overrides
        return parse(TrainConfig, compose("config", lines))

    @classmethod
    def _parameters(cls) -> list[str]:
        return [name for name in inspect.signature(cls.__init__).parameters if name != "self"]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters by name, as scikit-learn asks for them."""
        return {name: getattr(self, name) for name in self._parameters()}

    def set_params(self, **parameters: Any) -> Self:
        """Set parameters by name, as scikit-learn does. Raises XMCError for a name that is none."""
        for name, value in parameters.items():
            if name not in self._parameters():
                raise XMCError(f"{name!r} is no parameter of XMCClassifier{near_miss(name, self._parameters())}")
            setattr(self, name, value)
        return self

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

    def __repr__(self) -> str:
        defaults = {name: p.default for name, p in inspect.signature(type(self).__init__).parameters.items()}
        given = [f"{name}={value!r}" for name, value in self.get_params().items() if value != defaults[name]]
        return f"{type(self).__name__}({', '.join(given)})"

    def _use(self, model: XMCModel) -> Self:
        self.model_ = model
        self.classes_ = np.array(model.label_ids, dtype=object)
        return self

    def _fitted(self) -> XMCModel:
        if not self.__sklearn_is_fitted__():
            raise XMCError("this XMCClassifier is not fitted; call fit(texts, labels), or load one: from_pretrained")
        return self.model_

    def _predict(self, texts: Sequence[str], k: int | None) -> list[list[Prediction]]:
        return self._fitted().predict(texts, self.k if k is None else k)

    @contextmanager
    def _run_folder(self) -> Iterator[Path]:
        if self.run is not None:
            yield Path(self.run)
            return
        with tempfile.TemporaryDirectory(prefix="xmc-") as folder:
            yield Path(folder)

    def _write_documents(self, folder: Path, texts: Sequence[str], labels: Labels) -> Sequence[str] | None:
        """Write the documents as `data=jsonl` reads them; returns the vocabulary, if it is given."""
        if isinstance(texts, str) or len(texts) != _count(labels):
            raise XMCError(f"fit takes as many texts as labels, got {len(texts)} and {_count(labels)}")
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "train.jsonl", "w", encoding="utf-8") as out:
            for row, (text, of_one) in enumerate(zip(texts, _label_lists(labels, self.classes), strict=True)):
                out.write(json.dumps({"id": str(row), "text": text, "labels": of_one}) + "\n")
        if self.classes is None and sp.issparse(labels):
            return [str(column) for column in range(labels.shape[1])]
        return self.classes


def _count(labels: Labels) -> int:
    return labels.shape[0] if sp.issparse(labels) else len(labels)


def _label_lists(labels: Labels, classes: Sequence[str] | None) -> Iterator[list[str]]:
    """Label ids of each document.

    Raises XMCError for a document whose labels are no collection of strings, and for a matrix of other than L columns.
    """
    if sp.issparse(labels):
        matrix = sp.csr_matrix(labels)
        matrix.eliminate_zeros()
        if classes is not None and len(classes) != matrix.shape[1]:
            raise XMCError(f"labels has {matrix.shape[1]} columns, classes {len(classes)} names; give a name a column")
        for start, end in zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True):
            yield [str(c) if classes is None else classes[c] for c in matrix.indices[start:end].tolist()]
        return
    for row, of_one in enumerate(labels):
        if isinstance(of_one, str) or not all(isinstance(label, str) for label in of_one):
            raise XMCError(f"labels[{row}] is {of_one!r}; expected a list or set of label ids, such as ['a', 'b']")
        yield sorted(set(of_one))


def _write_vocabulary(path: Path, classes: Sequence[str]) -> None:
    for label in classes:
        if not label or any(c in label for c in "\t\r\n"):
            raise XMCError(f"the class {label!r} is empty or has a tab or line break; rename it")
    path.write_text("id\tname\n" + "".join(f"{label}\t{label}\n" for label in classes), encoding="utf-8")
