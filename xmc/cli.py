"""`xmc <command> [overrides]`: Hydra on the outside, plain functions with a checked configuration inside."""

import functools
import logging
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from xmc.config import (
    AddLabelsConfig,
    BlendConfig,
    CalibrateConfig,
    CoordinateCheckConfig,
    EstimateConfig,
    EvaluateConfig,
    FinetuneConfig,
    PredictConfig,
    ReportConfig,
    TrainConfig,
    TuneConfig,
    load_run_config,
    near_miss,
    parse,
    parse_run,
    resumed_values,
    run_config_path,
    to_yaml,
    with_old_data,
)
from xmc.config.arguments import as_override, overrides_of, parse_overrides
from xmc.config.compose import check_keys, conf_folder, container, one_clear_error, values_of
from xmc.config.shell import shell_command
from xmc.endings import AGAIN, interrupted, one_line, stoppable, undisturbed
from xmc.terminal import encode_everything, guard
from xmc.types import XMCError

COMMANDS = {
    "prepare": "download and unpack a benchmark set, and read any set into the cache",
    "train": "train a model from raw text (resume=true goes on from the last checkpoint)",
    "tune": "find good settings within a budget of time, and go on with it (budget=30min)",
    "finetune": "train a model further on other data, with other labels",
    "add-labels": "teach a model new labels from a few examples, and leave all else as it is",
    "evaluate": "measure a run's model on one split",
    "calibrate": "fit a run's probabilities and thresholds to its dev split",
    "blend": "make one model of several runs, scores of other tools, nearest documents",
    "report": "show a run, or several side by side, on one page of HTML",
    "predict": "write the best labels of new documents",
    "coordinate-check": "show whether learning rates carry over from one fan-in to another",
    "estimate": "tell how much memory a run would take, part by part, and what would make it fit",
    "flops": "count multiply-adds and bytes, layer by layer, beside the dense twin",
}
HELP = """\
xmc: text classifiers with up to millions of labels on one ordinary machine

usage: xmc <command> [key=value ...]

commands:
{commands}

xmc <command> --help shows its keys and choices; --cfg job prints the composed configuration.
xmc train --multirun seed=0,1,2 runs a sweep.
"""

Task = Callable[[DictConfig], None]


@stoppable()
def main() -> None:
    """Entry point of the `xmc` command. Exit status: 0 done, 1 one clear error, 128 + n stopped by signal n."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(HELP.format(commands="\n".join(f"  {name:<18}{text}" for name, text in COMMANDS.items())))
        return
    command, *rest = arguments
    encode_everything()
    guard()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr, force=True)
    for noisy in ("datasets", "transformers", "huggingface_hub", "httpx"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    with one_line(command, lambda: AGAIN):
        if command not in COMMANDS:
            raise XMCError(f"{command!r} is no command of xmc{near_miss(command, list(COMMANDS))}")
        _check_working_directory()
        name = "config" if command in ("prepare", "train", "flops") else command.replace("-", "_")
        rest = overrides_of(name, rest)
        if command == "finetune":
            rest = [*_inherited(rest), *rest]
        check_keys(name, rest)
        sys.argv = [f"xmc {command}", *rest]
        os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # hand errors through instead of wrapping them
        tasks: dict[str, Task] = {
            "prepare": _prepare,
            "train": _train,
            "tune": _tune,
            "finetune": _train,
            "add-labels": _add_labels,
            "evaluate": _evaluate,
            "calibrate": _calibrate,
            "blend": _blend,
            "report": _report,
            "predict": _predict,
            "coordinate-check": _coordinate_check,
            "estimate": _estimate,
            "flops": _flops,
        }
        task = _one_clear_error(command, tasks[command])
        with one_clear_error():
            hydra.main(config_path=str(conf_folder()), config_name=name, version_base="1.3")(task)()
        sys.stdout.flush()


def _check_working_directory() -> None:
    try:
        Path.cwd()
    except OSError:
        raise XMCError("the working directory is no longer there; change into another") from None


def _one_clear_error(command: str, task: Task) -> Task:
    """Leave Hydra's job runner by SystemExit: it would print a traceback around an XMCError."""

    @functools.wraps(task)
    def run(cfg: DictConfig) -> None:
        with one_line(command, lambda: _way_on(command, cfg)):
            task(cfg)

    return run


def _way_on(command: str, cfg: DictConfig) -> str:
    with suppress(OSError):  # no folder could have such a name
        if command in ("train", "finetune") and run_config_path(cfg.run).is_file():
            return f"go on with: {shell_command('train', run=cfg.run, resume=True)}"
    return AGAIN


def _prepare(cfg: DictConfig) -> None:
    config = parse(TrainConfig, container(cfg))
    with undisturbed():
        from xmc.commands.planning import prepare_set

    prepare_set(config)


def _train(cfg: DictConfig) -> None:
    hydra_cfg = HydraConfig.get()
    if hydra_cfg.mode == RunMode.MULTIRUN:
        cfg.run = hydra_cfg.runtime.output_dir
    values = {} if cfg.resume else container(cfg)
    if cfg.resume:
        given = [override.key_or_group for override in parse_overrides(hydra_cfg.overrides.task)]
        values = resumed_values(values_of(cfg), [key.replace("/", ".") for key in given])
    config = parse_run(values)
    if isinstance(config, FinetuneConfig) and not config.resume:
        config = with_old_data(config)
    with undisturbed():
        from xmc.commands.settings import with_recipe
        from xmc.commands.training import train_run
        from xmc.train.loop import Interrupted

    if not config.resume:
        config = with_recipe(config, _given())
    try:
        train_run(config, to_yaml(config))
    except Interrupted as stop:
        interrupted(_way_on("train", cfg), stop.signal_number)


def _tune(cfg: DictConfig) -> None:
    config = parse(TuneConfig, container(cfg))
    with undisturbed():
        from xmc.commands.settings import with_recipe
        from xmc.train.loop import Interrupted
        from xmc.tune.command import tune

    try:
        tune(with_recipe(config, _given()), _given())
    except Interrupted as stop:
        interrupted(AGAIN, stop.signal_number)


def _evaluate(cfg: DictConfig) -> None:
    config = parse(EvaluateConfig, container(cfg))
    trained = load_run_config(config.run, config.data)
    with undisturbed():
        from xmc.commands.measuring import evaluate_run

    evaluate_run(config, trained)


def _calibrate(cfg: DictConfig) -> None:
    config = parse(CalibrateConfig, container(cfg))
    trained = load_run_config(config.run, config.data)
    with undisturbed():
        from xmc.commands.measuring import calibrate_run

    calibrate_run(config, trained)


def _blend(cfg: DictConfig) -> None:
    config = parse(BlendConfig, container(cfg))
    trained = {run: load_run_config(run, config.data) for run in config.folders}
    with undisturbed():
        from xmc.commands.blending import blend_runs

    blend_runs(config, trained)


def _report(cfg: DictConfig) -> None:
    config = parse(ReportConfig, container(cfg))
    trained = [load_run_config(run, config.data) for run in config.folders]
    with undisturbed():
        from xmc.commands.reporting import report_runs

    report_runs(config, trained)


def _predict(cfg: DictConfig) -> None:
    config = parse(PredictConfig, container(cfg))
    with undisturbed():
        from xmc.commands.serving import predict_run

    predict_run(config, _run_or_model(config.run))


def _add_labels(cfg: DictConfig) -> None:
    config = parse(AddLabelsConfig, container(cfg))
    with undisturbed():
        from xmc.commands.serving import add_labels

    add_labels(config, _run_or_model(config.run, config.data))


def _coordinate_check(cfg: DictConfig) -> None:
    config = parse(CoordinateCheckConfig, container(cfg))
    with undisturbed():
        from xmc.commands.planning import check_coordinates
        from xmc.commands.settings import with_recipe

    check_coordinates(with_recipe(config, _given()))


def _estimate(cfg: DictConfig) -> None:
    config = parse(EstimateConfig, container(cfg))
    with undisturbed():
        from xmc.commands.planning import estimate_memory
        from xmc.commands.settings import with_recipe

    estimate_memory(with_recipe(config, _given()))


def _flops(cfg: DictConfig) -> None:
    config = parse(TrainConfig, container(cfg))
    with undisturbed():
        from xmc.commands.planning import count_flops
        from xmc.commands.settings import with_recipe

    count_flops(with_recipe(config, _given()))


def _given() -> list[str]:
    """The keys and groups that the user has set."""
    return [override.key_or_group for override in parse_overrides(HydraConfig.get().overrides.task)]


def _run_or_model(folder: str, data: Mapping[str, Any] | None = None) -> TrainConfig | None:
    """The configuration of a run; None where the folder holds a model alone."""
    return load_run_config(folder, data) if run_config_path(folder).exists() else None


def _inherited(arguments: list[str]) -> list[str]:
    """Overrides for all that the model a run starts from decides, but for those that the user repeats.

    Raises:
        XMCError: an override contradicts them.
    """
    given = {override.key_or_group: override for override in parse_overrides(arguments)}
    if "from" not in given or ("resume" in given and given["resume"].value() is True):
        return []
    with undisturbed():
        from xmc import build

    settings = build.inherited_settings(str(given["from"].value()))
    values = {key: override.value() for key, override in given.items() if key in settings}
    if wrong := [key for key, value in values.items() if value != settings[key]]:
        lines = [f"  {key}: the model has {settings[key]!r}, now given {values[key]!r}" for key in wrong]
        raise XMCError(
            f"{given['from'].value()} decides these settings:\n"
            + "\n".join(lines)
            + "\nfine-tune without these overrides, or train anew with: xmc train"
        )
    return [as_override(key, value) for key, value in settings.items() if key not in given]
