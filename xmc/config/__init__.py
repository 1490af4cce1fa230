"""The typed schema of a run and every check at the door. Hydra composes parts and the presets of `conf/` for it."""

from xmc.config.parse import parse, run_config_path
from xmc.config.run import FinetuneConfig, Metrics, NewLabels, RunData, Split, TrainConfig, Trainer
from xmc.config.saved import load_config_if_run, load_run_config, parse_run, resumed_values, to_yaml, with_old_data
from xmc.section import Section

__all__ = [
    "FinetuneConfig",
    "Metrics",
    "NewLabels",
    "RunData",
    "Section",
    "Split",
    "TrainConfig",
    "Trainer",
    "load_config_if_run",
    "load_run_config",
    "parse",
    "parse_run",
    "resumed_values",
    "run_config_path",
    "to_yaml",
    "with_old_data",
]
