"""Raw files to corpora, corpora to tokens, tokens to batches."""

from xmc.data.annif import read_annif
from xmc.data.arriving import Arriving, standard_input
from xmc.data.batches import Batches
from xmc.data.bow import read_bow, read_rows
from xmc.data.cache import cached
from xmc.data.corpus import Corpus, Split, cut_dev
from xmc.data.documents import read_documents, read_examples
from xmc.data.filters import StreamFilter
from xmc.data.labels import read_labels_tsv
from xmc.data.lightxml import read_lightxml
from xmc.data.mix import mixed
from xmc.data.pecos import read_pecos
from xmc.data.prepare import PECOS, REPOSITORY, TABLE, Layout, prepare
from xmc.data.pydoc import read_pydoc
from xmc.data.repository import read_repository
from xmc.data.scores import read_scores
from xmc.data.synthetic import read_synthetic
from xmc.data.table import read_table
from xmc.data.tokens import tokenize

__all__ = [
    "PECOS",
    "REPOSITORY",
    "TABLE",
    "Arriving",
    "Batches",
    "Corpus",
    "Layout",
    "Split",
    "StreamFilter",
    "cached",
    "cut_dev",
    "mixed",
    "prepare",
    "read_annif",
    "read_bow",
    "read_documents",
    "read_examples",
    "read_labels_tsv",
    "read_lightxml",
    "read_pecos",
    "read_pydoc",
    "read_repository",
    "read_rows",
    "read_scores",
    "read_synthetic",
    "read_table",
    "standard_input",
    "tokenize",
]
