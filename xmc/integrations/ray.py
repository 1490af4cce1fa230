"""Prediction on Ray Data; see docs/clusters.md."""

from pathlib import Path
from typing import Any

try:
    from ray.data import ActorPoolStrategy, Dataset
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f'{error}; xmc.integrations.ray needs Ray Data: pip install "xmc[ray]"') from None

from xmc.integrations.tables import Predictor, Work


def predict(
    documents: Dataset,
    run: str | Path,
    *,
    num_cpus: float = 1,
    num_gpus: float | None = None,
    memory: float | None = None,
    compute: ActorPoolStrategy | None = None,
    **settings: Any,
) -> Dataset:
    """The best labels of each document: `id` and `labels`, the columns and values that `xmc predict` writes to Parquet.

    documents: a row each, with the columns of its id and its text. run: of a finished run or a saved model, a folder
    that all machines see. num_cpus, num_gpus, memory (bytes): of a worker; compute: how many workers; as for
    `map_batches`. settings: see `xmc.integrations.tables.Settings`.

    A worker loads the model once; it has `num_cpus` threads.

    Raises:
        XMCError: there is no such model, or a setting is none or has no such value.
    """
    work = Work.of(run, settings)
    return documents.select_columns(work.columns).map_batches(
        Predictor,
        fn_constructor_args=(work, max(1, int(num_cpus))),
        batch_format="pyarrow",
        batch_size=None,
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        memory=memory,
        compute=compute,
    )
