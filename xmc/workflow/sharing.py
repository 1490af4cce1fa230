"""Documents that come, ranked by all processes of a job, a batch each in turn."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch

from xmc.distributed import Processes
from xmc.errors import XMCError
from xmc.model import Blend, XMCModel
from xmc.model.sharded import ShardedClassifier
from xmc.workflow.predicting import Ranked, in_batches
from xmc.workflow.resuming import document_of, line_of

Document = tuple[int, tuple[str, str] | XMCError]


def predict_together(
    predict: Callable[[Iterable[Document]], Iterator[Ranked | XMCError]],
    model: XMCModel | Blend,
    documents: Iterable[Document],
    batch_size: int,
    processes: Processes,
) -> Iterator[Ranked | XMCError]:
    """What `predict` gives of all documents, in their order, on every process.

    All processes are given the same documents. Of as many batches as there are processes each takes one, so that every
    batch has the documents, and every list the bits, that one process would give it.
    """
    if processes.size == 1:
        yield from predict(documents)
        return
    for turn in in_batches(iter(documents), processes.size * batch_size):
        first = processes.rank * batch_size
        own = turn[first : first + batch_size]
        ranked = list(predict(own))
        if all(isinstance(document, XMCError) for _, document in own):
            _attend(model)
        lines = np.array(bytearray().join(map(line_of, ranked)), dtype=np.uint8)
        (of_all,) = processes.gather(torch.from_numpy(lines))
        yield from map(document_of, of_all.numpy().tobytes().splitlines())


def _attend(model: XMCModel | Blend) -> None:
    """Take part where the others rank documents by their labels and ours, and we have none."""
    if isinstance(model, XMCModel) and isinstance(model.classifier, ShardedClassifier):
        nothing = torch.zeros(0, 1, dtype=torch.int64)
        model.classifier.topk(model.features(nothing, nothing), 1)
