"""Sums of a table's rows, one a bag, and the gradient of the table, which is never formed as a whole."""

from xmc.ops.bag.api import Bags, TableGradient, bag_sums

__all__ = ["Bags", "TableGradient", "bag_sums"]
