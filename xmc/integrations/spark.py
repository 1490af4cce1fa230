"""Prediction on Spark; see docs/clusters.md."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

try:
    import pandas as pd
    from pyspark import TaskContext
    from pyspark.sql import DataFrame
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f'{error}; xmc.integrations.spark needs pyspark: pip install "xmc[spark]"') from None

from xmc.integrations.tables import Predictor, Work

_COLUMNS = "id string, labels array<struct<label: string, name: string, score: double>>"


def predict(documents: DataFrame, run: str | Path, **settings: Any) -> DataFrame:
    """The best labels of each document: `id` and `labels`, the columns and values that `xmc predict` writes to Parquet.

    documents: a row each, with the columns of its id and its text. run: of a finished run or a saved model, a folder
    that all machines see. settings: see `xmc.integrations.tables.Settings`.

    A Python worker loads the model once and keeps it for the tasks that come; it has `spark.task.cpus` threads.

    Raises:
        XMCError: there is no such model, or a setting is none or has no such value.
    """
    work = Work.of(run, settings)

    def predicted(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        predictor = Predictor(work, threads=TaskContext.get().cpus())
        for frame in frames:
            for table in predictor(pa.Table.from_pandas(frame, preserve_index=False)):
                yield table.to_pandas()

    return documents.select([f"`{column}`" for column in work.columns]).mapInPandas(predicted, _COLUMNS)
