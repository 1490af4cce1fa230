"""Terms of documents, sums of their rows in a table, and the table's gradient, which is never formed as a whole."""

from xmc.ops.bag.api import Bags, TableGradient, bag_sums, count_terms, document_idf, tf_idf

__all__ = ["Bags", "TableGradient", "bag_sums", "count_terms", "document_idf", "tf_idf"]
