"""Raw files to corpora, corpora to tokens, tokens to batches."""

from xmc.data.batches import Batches
from xmc.data.corpus import Corpus, Split, cut_dev
from xmc.data.documents import read_documents
from xmc.data.lightxml import read_lightxml
from xmc.data.pydoc import read_pydoc
from xmc.data.table import read_table
from xmc.data.tokens import tokenize

__all__ = [
    "Batches",
    "Corpus",
    "Split",
    "cut_dev",
    "read_documents",
    "read_lightxml",
    "read_pydoc",
    "read_table",
    "tokenize",
]
