"""The configuration in a run's folder: written as plain values, and read back as nothing but these."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from xmc.config.parse import parse, run_config_path
from xmc.config.run import FinetuneConfig, TrainConfig
from xmc.data.formats import SAME_DOCUMENTS, DataSection
from xmc.errors import XMCError
from xmc.section import Section, named
from xmc.storage import unreadable

logger = logging.getLogger(__name__)

_OF_THE_COMMAND = ("run", "resume", "finish", "recipe", "experiment", "from", "trainer.threads")
_LARGEST = 1 << 20  # bytes; a configuration has some 3,000


def to_yaml(config: Section) -> str:
    """A checked configuration as YAML, to be kept in a run's folder."""
    return yaml.safe_dump(config.model_dump(mode="json", by_alias=True), sort_keys=False, allow_unicode=True)


def load_run_config(run: str | Path, data: Mapping[str, Any] | None = None) -> TrainConfig:
    """The configuration a run was trained with. data: what is another now of its data section.

    Raises:
        XMCError: the folder holds no run, its configuration cannot be read, the data has no such keys, or one of them
            decides which documents the run learned from, and is another.
    """
    values = saved_values(run)
    config = parse_run(values, str(run_config_path(run)))
    if not data:
        return config
    now = parse_run(_merged(values, {"data": data}))
    decisive = [key for key in data if not _may_change(config, f"data.{key}")]
    _check_agreement(
        *(run, config.model_dump(by_alias=True), now.model_dump(by_alias=True)), [f"data.{key}" for key in decisive]
    )
    return now


def load_config_if_run(folder: str | Path, data: Mapping[str, Any] | None = None) -> TrainConfig | None:
    """As `load_run_config`; None where the folder holds a model alone."""
    return load_run_config(folder, data) if run_config_path(folder).exists() else None


def saved_values(run: str | Path) -> dict[str, Any]:
    """The values in a run's folder as they stand there: a text with `${` is that text.

    Raises:
        XMCError: the folder holds no run, or anything but the mapping that `to_yaml` writes.
    """
    path = run_config_path(run)
    try:
        with open(path, "rb") as stream:
            text = stream.read(_LARGEST + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise XMCError(f"{run} holds no run ({path.name} is missing); give run=<folder of xmc train>") from None
    except OSError as error:
        raise unreadable(path, error) from None
    if len(text) > _LARGEST:
        raise unreadable(path, f"larger than {_LARGEST:,} bytes")
    try:
        values = yaml.load(text, _PlainLoader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise unreadable(path, f"{error.problem}{line}") from None
    except RecursionError:
        raise unreadable(path, "nested too deep") from None
    except (yaml.YAMLError, ValueError) as error:  # not UTF-8, or a number of thousands of digits
        raise unreadable(path, str(error).partition("\n")[0].partition(";")[0]) from None
    if not isinstance(values, dict) or not isinstance(values.get("data"), dict):
        raise unreadable(path, "not the configuration of a run")
    return values


def parse_run(values: Mapping[str, Any], where: str = "") -> TrainConfig:
    """The checked configuration that was saved with a run, or one that fine-tunes. where: the file of the values."""
    return parse(FinetuneConfig if "from" in values else TrainConfig, values, where, saved=True)


def resumed_values(now: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """The saved values of `now["run"]`, once what is given now, in these keys, agrees with them.

    Where its data lies, and the model that it starts from, may be told anew: a run knows both by their contents. So may
    the number of threads.

    Raises:
        XMCError: there is no such run, or it has other values.
    """
    saved = values = saved_values(now["run"])
    for key in keys:
        if key in ("from", "trainer.threads") or key.startswith("data."):
            given = _value_at(now, key)
            for name in reversed(key.split(".")):
                given = {name: given}
            values = _merged(values, given)
    config = parse_run(values)
    decisive = [key for key in keys if key not in _OF_THE_COMMAND and not _may_change(config, key)]
    _check_agreement(now["run"], saved, now, decisive)
    return values | {"run": now["run"], "resume": True, "finish": now.get("finish")}


def _check_agreement(run: str | Path, saved: Mapping[str, Any], now: Mapping[str, Any], keys: Sequence[str]) -> None:
    """Raise XMCError where one of these keys has another value now."""
    wrong = []
    for key in keys:
        then, given = _choice(_value_at(saved, key)), _choice(_value_at(now, key))
        if given != then:
            wrong.append(f"{key}: the run has {then!r}, now given {given!r}")
    if wrong:
        raise XMCError(
            f"{run} was started with another configuration ({'; '.join(wrong)}); leave these out, or train anew in "
            "another folder with run=..."
        )


def _may_change(config: TrainConfig, key: str) -> bool:
    """Whether a key of the data says where it lies, or how its files name things: the documents stay the same."""
    section, _, rest = key.partition(".")
    field = named(type(config.data)).get(rest.partition(".")[0]) if section == "data" else None
    return field is not None and SAME_DOCUMENTS in field.metadata


def with_old_data(config: FinetuneConfig) -> FinetuneConfig:
    """With how the documents are read that `replay` names or, without, that the source learned from, if it is a run.

    Raises:
        XMCError: replay is neither a run that can be read nor a folder that can hold data as the new is laid out.
    """
    folder = Path(config.replay or config.source)
    old: tuple[DataSection, ...] = ()
    if runs := [run for run in (folder, folder.parent) if run_config_path(run).is_file()]:
        try:
            trained = load_run_config(runs[0])
        except XMCError as error:
            if config.replay is not None:
                raise
            logger.warning(f"{error}; what the model forgets of its old data is not measured")
            return config
        old = (trained.data,)
        if isinstance(trained, FinetuneConfig) and trained.replay is not None:
            old += trained.old_data
    elif config.replay is not None:
        elsewhere = config.data.elsewhere(config.replay)
        if elsewhere is None or not folder.is_dir():
            raise XMCError(f"replay={folder} is neither a run nor a folder of data; give the run that learned from it")
        old = (elsewhere,)
    return config.model_copy(update={"old_data": old})


def _value_at(values: Mapping[str, Any], key: str) -> Any:
    """The value of a dotted key, None where there is none."""
    found: Any = values
    for name in key.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _choice(value: Any) -> Any:
    """Of a group what is chosen; another value is itself."""
    return value.get("kind") if isinstance(value, Mapping) else value


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The old values with the new ones, section by section."""
    both = {k: _merged(old[k], v) for k, v in new.items() if isinstance(v, Mapping) and isinstance(old.get(k), Mapping)}
    return {**old, **new, **both}


class _PlainLoader(yaml.SafeLoader):
    """Of YAML only what `to_yaml` writes: no aliases, whose expansion has no bound, no tags, and no key twice."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "an alias", self.peek_event().start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        values = super().construct_mapping(node, deep)
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands twice", key.start_mark)
            seen.add(key.value)
        return values
