"""The lexical halves of a study's models."""

import hashlib
import json
import logging
import time
from pathlib import Path

from xmc import factory
from xmc.commands.tune.study import Study
from xmc.config import TrainConfig
from xmc.data.corpus import Corpus
from xmc.model.lexical import LexicalHalf
from xmc.model.lexical_file import load_apart, save_apart
from xmc.storage import whole_folder

logger = logging.getLogger(__name__)


class Halves:
    """Each is learned once, for all trials that read the same tokens, and kept in a folder.

    Whatever else a trial tries concerns the network alone. All halves have one seed, that of `xmc train` with the
    settings found.
    """

    def __init__(self, folder: Path, study: Study, corpus: Corpus, seed: int) -> None:
        self._folder, self._study, self._corpus, self._seed = folder, study, corpus, seed

    def seconds(self, config: TrainConfig) -> float:
        """What it takes to learn that of a run: the longest that one took; 0 where it is there, or there is none."""
        if not config.lexical.learns or self._path(config).exists():
            return 0.0
        return self._study.recall("seconds of a half") or 0.0

    def of(self, config: TrainConfig) -> LexicalHalf | None:
        """That of a run, learned now if it is not there; its coefficients are those of no dev data."""
        if not config.lexical.learns:
            return None
        path = self._path(config)
        if not path.exists():
            self._learn(config, path)
        return load_apart(path, len(self._corpus.label_ids))

    def _learn(self, config: TrainConfig, path: Path) -> None:
        began = time.monotonic()
        config = config.model_copy(update={"seed": self._seed})
        taught = self._corpus.with_label_texts() if config.trainer.label_texts else self._corpus
        half = factory.build_lexical_half(config, factory.build_encoder(config, taught), self._corpus)
        assert half is not None
        with whole_folder(path) as folder:
            save_apart(half, folder)
        took = time.monotonic() - began
        self._study.remember("seconds of a half", max(took, self._study.recall("seconds of a half") or 0.0))
        logger.info("lexical half learned in %.0f s", took)

    def _path(self, config: TrainConfig) -> Path:
        tokens, lexical = config.encoder.tokenizing(), config.lexical.model_dump(mode="json")
        of_it = [tokens, config.trainer.label_texts, lexical, self._seed]
        return self._folder / hashlib.sha256(json.dumps([*of_it, self._corpus.fingerprint]).encode()).hexdigest()[:16]
