"""The memory that a run would take, part by part, before anything of it is loaded."""

from xmc.estimate.counts import Counts, count
from xmc.estimate.memory import Estimate, estimate, memory_of
from xmc.estimate.remedies import remedies
from xmc.estimate.report import table, verdict

__all__ = ["Counts", "Estimate", "count", "estimate", "memory_of", "remedies", "table", "verdict"]
