"""A backend of Annif, `backend=xmc`, in Annif's own process. Importing this module makes it known there.

Annif has no plug-ins: `xmc-annif` is its command with the backend, `create_app` of this module its web application.
"""

import json
import logging
import os
import shlex
import shutil
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import csr_array

try:
    import annif.backend
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"{error}; xmc.integrations.annif needs the package annif: pip install annif") from None
from annif import create_app
from annif.backend.backend import AnnifBackend
from annif.exception import NotInitializedException, NotSupportedException, OperationFailedException
from annif.suggestion import SuggestionBatch

from xmc import factory
from xmc.config import TrainConfig, parse, to_yaml
from xmc.config.arguments import as_override, overrides_of, parse_overrides
from xmc.config.compose import compose
from xmc.errors import XMCError
from xmc.machine import prepare_machine
from xmc.model import XMCModel
from xmc.storage import whole_folder
from xmc.train.loop import Interrupted
from xmc.workflow.settings import with_recipe
from xmc.workflow.training import train_run

_one_at_a_time = threading.Lock()  # requests of the web application come in threads

__all__ = ["XMCBackend", "create_app", "main"]


class XMCBackend(AnnifBackend):
    """Trains as `xmc train` does, to `model` in the project's data folder, and suggests with what stands there.

    Parameters of a project: settings, as `xmc train` takes them (`trainer.epochs=20 encoder.width=512`); model, the
    folder of a run or of a saved model, instead of training; device; limit, of suggestions.
    """

    name = "xmc"
    DEFAULT_PARAMETERS: ClassVar = {"settings": "", "model": "", "device": "auto"}

    _model: XMCModel | None = None
    _subject_of: np.ndarray  # of each label of the model, int64 [L]; -1: none

    @property
    def _folder(self) -> Path:
        return Path(self.params["model"] or os.path.join(self.datadir, "model"))

    @property
    def _model_file_paths(self) -> list[str]:
        return [str(path) for path in self._folder.rglob("*") if path.is_file()]

    def _train(self, corpus: Any, params: dict[str, Any], jobs: int = 0) -> None:
        if corpus == "cached":
            raise NotSupportedException("Training xmc project from cached data not supported.")
        if params["model"]:
            raise NotSupportedException(
                f"The project's model={params['model']} is trained elsewhere; remove it to train."
            )
        logging.getLogger("xmc").setLevel(annif.logger.getEffectiveLevel())
        with tempfile.TemporaryDirectory(prefix="tmp-", dir=self.datadir) as folder:
            data, run = Path(folder, "data"), Path(folder, "run")
            data.mkdir()
            self._write_vocabulary(data / "labels.tsv")
            self._write_documents(data / "train.jsonl", corpus)
            own = {
                "data": "jsonl",
                "data.root": str(data),
                "data.cache_dir": str(Path(folder, "cache")),
                "run": str(run),
            }
            own |= {"trainer.device": params["device"]} | ({"trainer.threads": jobs} if jobs > 0 else {})
            try:
                _train_run([*(as_override(*pair) for pair in own.items()), *shlex.split(params["settings"])])
            except XMCError as error:
                raise OperationFailedException(str(error), backend_id=self.backend_id) from None
            with whole_folder(Path(self.datadir, "model")) as place:
                shutil.copytree(run / "model", place, dirs_exist_ok=True)
        self._model = None

    def initialize(self, parallel: bool = False) -> None:
        """Load the model, unless processes are about to be forked, which the threads of torch would not survive."""
        if parallel or self._model is not None:
            return
        if not self.is_trained:
            raise NotInitializedException(f"model {self._folder} not found", backend_id=self.backend_id)
        try:
            device = prepare_machine(self.params["device"], None)
            self._model = XMCModel.from_pretrained(factory.model_folder(self._folder), device=str(device))
        except XMCError as error:
            raise OperationFailedException(str(error), backend_id=self.backend_id) from None
        subjects = [self.project.subjects.by_uri(uri, warnings=False) for uri in self._model.label_ids]
        self._subject_of = np.array([-1 if subject is None else subject for subject in subjects])
        if lacking := int((self._subject_of < 0).sum()):
            self.warning(f"{lacking} of {len(subjects)} labels of the model are no subjects of the vocabulary")

    def _suggest_batch(self, documents: Sequence[Any], params: dict[str, Any]) -> SuggestionBatch:
        assert self._model is not None
        limit, labels = int(params["limit"]), len(self._subject_of)
        k = min(labels, max(1, limit) + int((self._subject_of < 0).sum()))
        shape = (len(documents), len(self.project.subjects))
        with _one_at_a_time:
            top = self._model.ranking([document.text for document in documents], k)
        ranked, scores = top.labels.numpy(), top.scores.numpy()
        subjects = np.where(ranked < 0, -1, self._subject_of[ranked])
        kept = subjects >= 0
        kept &= kept.cumsum(axis=1) <= limit
        entries: Any = (scores[kept], (kept.nonzero()[0], subjects[kept]))
        return SuggestionBatch(csr_array(entries, shape=shape, dtype=np.float32))

    def _write_vocabulary(self, path: Path) -> None:
        with open(path, "w", encoding="utf-8") as out:
            out.write("id\tname\n")
            for _, subject in self.project.subjects.active:
                name = " ".join((subject.labels.get(self.project.vocab_lang) or "").split())
                out.write(f"{subject.uri}\t{name}\n")

    def _write_documents(self, path: Path, corpus: Any) -> None:
        subjects, count, empty = self.project.subjects, 0, 0
        with open(path, "w", encoding="utf-8") as out:
            for row, document in enumerate(corpus.documents):
                if not (text := document.text.strip()):
                    empty += 1
                    continue
                labels = [subjects[subject].uri for subject in document.subject_set]
                out.write(json.dumps({"id": f"train-{row}", "text": text, "labels": labels}) + "\n")
                count += 1
        if not count:
            raise NotSupportedException("Cannot train xmc project with no documents")
        if empty:
            self.warning(f"{empty} documents without a text are left out")


def main() -> None:
    """Annif's command line, with the backend."""
    from annif.cli import cli

    cli()


def _train_run(overrides: Sequence[str]) -> None:
    given = [override.key_or_group for override in parse_overrides(overrides_of(TrainConfig, overrides))]
    config = with_recipe(parse(TrainConfig, compose(overrides)), given)
    try:
        train_run(config, to_yaml(config))
    except Interrupted as stop:
        raise KeyboardInterrupt from stop


annif.backend._backend_fns[XMCBackend.name] = lambda: XMCBackend

if __name__ == "__main__":
    main()
