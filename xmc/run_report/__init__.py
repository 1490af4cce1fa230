"""`xmc report`: the facts of one run or of several, gathered, and the page that shows them."""

from xmc.run_report.connections import Connections, map_connections
from xmc.run_report.facts import Measured, Missing, RunFacts, measure_split
from xmc.run_report.folder import flat, history, metrics_of, model_sizes, recorded_metrics
from xmc.run_report.page import render

__all__ = [
    "Connections",
    "Measured",
    "Missing",
    "RunFacts",
    "flat",
    "history",
    "map_connections",
    "measure_split",
    "metrics_of",
    "model_sizes",
    "recorded_metrics",
    "render",
]
