"""What the commands do, once their configuration is checked."""

from xmc.endings import undisturbed

with undisturbed():  # they import torch and transformers
    from xmc.commands.blending import blend_runs
    from xmc.commands.measuring import calibrate_run, evaluate_run, report_runs
    from xmc.commands.planning import check_coordinates, count_flops, estimate_memory, prepare_set, with_recipe
    from xmc.commands.serving import add_labels, predict_run
    from xmc.commands.training import train_run

__all__ = [
    "add_labels",
    "blend_runs",
    "calibrate_run",
    "check_coordinates",
    "count_flops",
    "estimate_memory",
    "evaluate_run",
    "predict_run",
    "prepare_set",
    "report_runs",
    "train_run",
    "with_recipe",
]
