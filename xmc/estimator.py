"""`XMCClassifier`: text classification with many labels behind the interface of a scikit-learn estimator."""

import inspect
import json
import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from xmc.config import TrainConfig, parse, to_yaml
from xmc.config.arguments import as_override, overrides_of, parse_overrides
from xmc.config.compose import compose
from xmc.config.shell import shell_command
from xmc.errors import XMCError
from xmc.evaluate.metrics import ndcg_at_k, precision_at_k, recall_at_k
from xmc.label_lists import Label, Labels, as_matrix, count, label_lists, plain
from xmc.machine import prepare_machine
from xmc.model import Prediction, XMCModel
from xmc.spelling import near_miss
from xmc.train.loop import Interrupted
from xmc.workflow.settings import with_recipe
from xmc.workflow.training import train_run

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
METRICS = {"nDCG": ndcg_at_k, "P": precision_at_k, "R": recall_at_k}
_one_at_a_time = threading.Lock()  # torch's random numbers and its number of threads are the process's


class XMCClassifier:
    """Learns which labels belong to a text, by the loop of `xmc train`.

    A parameter that is None has the default of `conf/`. `overrides` takes every other key of `xmc train`, as the
    command line does (`["encoder.width=512"]`) or as a dictionary. Works with scikit-learn's `clone`, `Pipeline`,
    `cross_val_score` and `GridSearchCV`, and without scikit-learn.

    Labels are strings or integers, and come back as what they are. k: labels of a prediction, and the cut-off of
    `score`. classes: the vocabulary in its order, the columns of a label matrix; None: the labels that occur or, for a
    matrix, its columns' numbers. dev_fraction: share of the documents that chooses the best model; 0 learns from all
    and keeps the last. run: the folder of the run, which then is that of any `xmc train`; None: a temporary one, which
    cross-validation needs, since each fold is a run. Fits in several threads of a process take turns.

    Fitted, it has `model_`, an `XMCModel`, and `classes_`, an array of L labels.
    """

    def __init__(
        self,
        *,
        k: int = 5,
        classes: Sequence[Label] | NDArray[Any] | None = None,
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
        with _one_at_a_time, self._run_folder() as run:
            config = self.config(run)
            with _data_folder(run) as data:
                classes = self._write_documents(data, texts, labels)
                config = with_recipe(config, self._given(run))
                try:
                    train_run(config, to_yaml(config))
                except Interrupted as stop:
                    go_on = shell_command("train", run=str(run), resume=True)
                    raise KeyboardInterrupt(f"go on with: {go_on}") from stop
            device = prepare_machine(config.trainer.device, config.trainer.threads)
            self._use(XMCModel.from_pretrained(run / "model", device=str(device)), classes)
        return self

    def predict(self, texts: Sequence[str], k: int | None = None) -> list[list[Label]]:
        """The k best labels of each text, best first. k: None is that of the estimator."""
        return [[self._own[p.label] for p in predictions] for predictions in self._predict(texts, k)]

    def predict_proba(self, texts: Sequence[str], k: int | None = None) -> sp.csr_matrix:
        """Probabilities of the k best labels of each text, float64 CSR [N, L], columns as in `classes_`."""
        predictions = self._predict(texts, k)
        column = {label: i for i, label in enumerate(self.model_.label_ids)}
        indices = [column[p.label] for row in predictions for p in row]
        values = [p.score for row in predictions for p in row]
        indptr = np.cumsum([0, *map(len, predictions)])
        matrix = sp.csr_matrix((values, indices, indptr), shape=(len(predictions), len(column)), dtype=np.float64)
        matrix.sort_indices()
        return matrix

    def score(self, texts: Sequence[str], labels: Labels, k: int | None = None, metric: str = "nDCG") -> float:
        """nDCG@k, from 0 to 1, which a perfect model reaches; at k=1 it is P@1. Labels never learned are missed.

        k: None is that of the estimator. metric: nDCG, P (whose ceiling is a document's labels over k) or R.
        """
        if metric not in METRICS:
            raise XMCError(f"metric: got {metric!r}{near_miss(metric, list(METRICS))}")
        k = self.k if k is None else k
        predicted, true = self.predict(texts, k), list(label_lists(labels, self.classes))
        if len(predicted) != len(true) or not true:
            raise XMCError(f"score takes as many texts as labels, at least 1; got {len(predicted)} and {len(true)}")
        unseen = {label for of_one in true for label in of_one} - set(self._own.values())
        column = {label: i for i, label in enumerate([*self._own.values(), *unseen])}
        ranked = np.full((len(true), k), -1)
        for row, best in zip(ranked, predicted, strict=True):
            row[: len(best)] = [column[label] for label in best]
        columns = [column[label] for of_one in true for label in of_one]
        indptr = np.cumsum([0, *map(len, true)])
        truth = sp.csr_matrix((np.ones(len(columns)), columns, indptr), shape=(len(true), len(column)))
        return float(METRICS[metric](ranked, truth, k)[-1])

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

    def config(self, run: str | Path) -> TrainConfig:
        """The configuration with which `fit` would train in this folder: `conf/`, the parameters, the overrides.

        What nobody has set, the recipe chooses when the data is known.
        """
        return parse(TrainConfig, compose(self._overrides(run)))

    def _given(self, run: str | Path) -> list[str]:
        return [override.key_or_group for override in parse_overrides(overrides_of(TrainConfig, self._overrides(run)))]

    def _overrides(self, run: str | Path) -> list[str]:
        own: dict[str, object] = {"data": "jsonl", "data.root": str(run / Path("data")), "run": str(run)}
        own |= {"data.cache_dir": str(run / Path("cache"))}
        own |= {key: getattr(self, name) for name, key in KEYS.items() if getattr(self, name) is not None}
        lines = [as_override(key, value) for key, value in own.items()]
        if isinstance(self.overrides, Mapping):
            lines += [as_override(key, value) for key, value in self.overrides.items()]
        else:
            lines += self.overrides
        return lines

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
        defaults = {name: repr(p.default) for name, p in inspect.signature(type(self).__init__).parameters.items()}
        told = {name: " ".join(repr(value).split()) for name, value in self.get_params().items()}
        return f"{type(self).__name__}({', '.join(f'{n}={t}' for n, t in told.items() if t != defaults[n])})"

    def _use(self, model: XMCModel, classes: Iterable[Label]) -> Self:
        """Take a model; where one of these is its label but for the type, that is what it is called from now on."""
        own = {str(label): label for label in classes}
        self.model_ = model
        self._own = {label: own.get(label, label) for label in model.label_ids}
        labels = list(self._own.values())
        self.classes_ = np.array(labels, dtype=object if any(isinstance(label, str) for label in labels) else None)
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

    def _write_documents(self, folder: Path, texts: Sequence[str], labels: Labels) -> list[Label]:
        """Write the documents as `data=jsonl` reads them, and the vocabulary if it is given; returns the classes."""
        if isinstance(texts, str) or len(texts) != count(labels):
            raise XMCError(f"fit takes as many texts as labels, got {len(texts)} and {count(labels)}")
        seen: dict[str, Label] = {}
        with open(folder / "train.jsonl", "w", encoding="utf-8") as out:
            for row, (text, of_one) in enumerate(zip(texts, label_lists(labels, self.classes), strict=True)):
                if not isinstance(text, str):
                    raise XMCError(f"texts[{row}] is {text!r}; expected a string")
                document = {"id": str(row), "text": text, "labels": sorted(map(str, of_one))}
                out.write(json.dumps(document) + "\n")
                for label in of_one:
                    if seen.setdefault(str(label), label) != label:
                        raise XMCError(f"labels has {label!r} and {seen[str(label)]!r}; name them apart")
        if self.classes is not None:
            classes = plain(self.classes)
        elif (matrix := as_matrix(labels)) is not None:
            classes = list(range(matrix.shape[1]))
        else:
            return list(seen.values())
        _write_vocabulary(folder / "labels.tsv", [str(label) for label in classes])
        return classes


@contextmanager
def _data_folder(run: Path) -> Iterator[Path]:
    """The folder of a run's documents, which this fit alone writes; it goes if the fit fails before it learns.

    Raises:
        XMCError: the folder is there already.
    """
    folder = run / "data"
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise XMCError(
            f"{run} already holds a run; give another folder, or run=None, so that each fit has one of its own"
        ) from None
    try:
        yield folder
    except BaseException:
        if not (run / "checkpoints").exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _write_vocabulary(path: Path, classes: Sequence[str]) -> None:
    for label in classes:
        if not label or any(c in label for c in "\t\r\n"):
            raise XMCError(f"the class {label!r} is empty or has a tab or line break; rename it")
    path.write_text("id\tname\n" + "".join(f"{label}\t{label}\n" for label in classes), encoding="utf-8")
