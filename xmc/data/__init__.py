"""Raw files to corpora, corpora to tokens, tokens to batches.

A format is a file here and a line below, or an entry point of the group `xmc.data` of another package.
"""

from xmc.data.formats import DataSection
from xmc.registry import Registry

DATA = Registry(
    "data",
    DataSection,
    {
        "pydoc": "xmc.data.pydoc:PydocData",
        "synthetic": "xmc.data.synthetic:SyntheticData",
        "jsonl": "xmc.data.table:JsonlData",
        "csv": "xmc.data.table:CsvData",
        "tsv": "xmc.data.table:TsvData",
        "xlsx": "xmc.data.table:XlsxData",
        "parquet": "xmc.data.table:ParquetData",
        "hf": "xmc.data.hf:HuggingFaceData",
        "txt": "xmc.data.text_folders:TextFolders",
        "lightxml": "xmc.data.lightxml:LightXMLData",
        "repository": "xmc.data.repository:RepositoryData",
        "pecos": "xmc.data.pecos:PecosData",
        "annif": "xmc.data.annif:AnnifData",
        "bow": "xmc.data.bow:BowData",
    },
)
