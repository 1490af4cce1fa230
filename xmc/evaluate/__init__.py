"""Metrics of predictions; it sees ranked label lists and sparse truth, never a model."""

from xmc.evaluate.bootstrap import Bootstrap, Interval, resample
from xmc.evaluate.frequency import Octave, by_frequency, octaves
from xmc.evaluate.metrics import frequency_bins, leave_out, ranked_labels
from xmc.evaluate.mistakes import Confusion, best_and_worst, confusions
from xmc.evaluate.propensity import inverse_propensity
from xmc.evaluate.reliability import ReliabilityBin, reliability
from xmc.evaluate.report import FAMILIES, Report, by_document, check_metric_name, evaluate, metric_names
from xmc.evaluate.terms import BINS

__all__ = [
    "BINS",
    "FAMILIES",
    "Bootstrap",
    "Confusion",
    "Interval",
    "Octave",
    "ReliabilityBin",
    "Report",
    "best_and_worst",
    "by_document",
    "by_frequency",
    "check_metric_name",
    "confusions",
    "evaluate",
    "frequency_bins",
    "inverse_propensity",
    "leave_out",
    "metric_names",
    "octaves",
    "ranked_labels",
    "reliability",
    "resample",
]
