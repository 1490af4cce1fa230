"""Terms of documents, sums of their rows in a table, and the table's gradient, which is never formed as a whole."""

from xmc.ops.bag.api import Bags, TableGradient, bag_sums, count_terms, tf_idf

__all__ = ["Bags", "TableGradient", "bag_sums", "count_terms", "tf_idf"]
