"""The parameters of the estimator, and the configuration of `xmc train` that they make."""

import inspect
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from xmc.config import TrainConfig, parse
from xmc.config.arguments import as_override, overrides_of, parse_overrides
from xmc.config.compose import compose
from xmc.config.keys import keys_of
from xmc.errors import XMCError
from xmc.spelling import near_miss

KEYS = {
    "encoder": "encoder",
    "classifier": "classifier",
    "fan_in": "classifier.fan_in",
    "sparsity": "sparsity",
    "epochs": "trainer.epochs",
    "batch_size": "trainer.batch_size",
    "patience": "trainer.patience",
    "dev_fraction": "data.dev_fraction",
    "seed": "seed",
    "device": "trainer.device",
    "threads": "trainer.threads",
}


class Parameters:
    """What scikit-learn asks of parameters. `overrides` holds every key that is none of them."""

    overrides: Sequence[str] | Mapping[str, object]

    def config(self, run: str | Path) -> TrainConfig:
        """The configuration with which `fit` would train in this folder: `conf/`, the parameters, the overrides.

        What nobody has set, the recipe chooses when the data is known.
        """
        return parse(TrainConfig, compose(self._overrides(run)))

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters by name, as scikit-learn asks for them."""
        return {name: getattr(self, name) for name in self._parameters()}

    def set_params(self, **parameters: Any) -> Self:
        """Set parameters by name, as scikit-learn does; any key of `xmc train` as `encoder__width`, or `encoder.width`.

        Raises XMCError for a name that is neither.
        """
        for name, value in parameters.items():
            key = name.replace("__", ".")
            if name in self._parameters():
                setattr(self, name, value)
            elif key in (known := keys_of(TrainConfig)):
                self.overrides = _with(self.overrides, key, value)
            else:
                names = [*self._parameters(), *(name.replace(".", "__") for name in sorted(known))]
                raise XMCError(f"{name!r} is no parameter of XMCClassifier{near_miss(key.replace('.', '__'), names)}")
        return self

    def __repr__(self) -> str:
        defaults = {name: repr(p.default) for name, p in inspect.signature(type(self).__init__).parameters.items()}
        told = {name: " ".join(repr(value).split()) for name, value in self.get_params().items()}
        return f"{type(self).__name__}({', '.join(f'{n}={t}' for n, t in told.items() if t != defaults[n])})"

    @classmethod
    def _parameters(cls) -> list[str]:
        return [name for name in inspect.signature(cls.__init__).parameters if name != "self"]

    def _given(self, run: str | Path) -> list[str]:
        return [override.key_or_group for override in parse_overrides(overrides_of(TrainConfig, self._overrides(run)))]

    def _overrides(self, run: str | Path) -> list[str]:
        own: dict[str, object] = {"data": "jsonl", "data.root": str(run / Path("data")), "run": str(run)}
        own |= {"data.cache_dir": str(run / Path("cache"))}
        own |= {key: value for name, key in KEYS.items() if (value := getattr(self, name)) is not None}
        if re.search(r"[/\\]", encoder := str(own.get("encoder", ""))):
            own |= {"encoder": "transformer", "encoder.name": encoder}
        lines = [as_override(key, value) for key, value in own.items()]
        if isinstance(self.overrides, Mapping):
            return lines + [as_override(key, value) for key, value in self.overrides.items()]
        return [*lines, *self.overrides]


def _with(
    overrides: Sequence[str] | Mapping[str, object], key: str, value: object
) -> Sequence[str] | Mapping[str, object]:
    """The overrides with another value of one key; those of the caller stay as they are."""
    if isinstance(overrides, Mapping):
        return {**overrides, key: value}
    return [*(line for line in overrides if line.partition("=")[0] != key), as_override(key, value)]
