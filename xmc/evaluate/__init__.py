"""Metrics of predictions; it sees ranked label lists and sparse truth, never a model."""

from xmc.evaluate.metrics import ranked_labels
from xmc.evaluate.propensity import inverse_propensity
from xmc.evaluate.report import Report, check_metric_name, evaluate, metric_names

__all__ = ["Report", "check_metric_name", "evaluate", "inverse_propensity", "metric_names", "ranked_labels"]
