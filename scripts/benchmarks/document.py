"""Time of one document through `XMCModel.predict`, part by part.

usage: python scripts/benchmarks/document.py [--labels 15000] [--fan-in 64 128] [--width 1024] [--vocabulary 25000]
           [--words 100] [--threads 1] [--documents 200] [--repeats 10] [--out runs/benchmarks/document]

The model is a bag with random weights. The n-th word of its vocabulary is as likely as 1/n, and the pairs of words that
two documents have are its bigrams. One document after the other is predicted, so that each finds in the caches what the
one before left there. A figure is the mean over documents of the least time of all repeats; beside it, for the whole,
the median of all times. Prints a table and writes OUT.json.
"""

import argparse
import json
import random
import statistics
import string
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from xmc.model import XMCModel
from xmc.model.bag import BagConfig, BagModel, frequent_bigrams
from xmc.model.classifier import FixedFanIn
from xmc.model.encoder import Encoder
from xmc.model.intermediate import Identity
from xmc.model.word_tokenizer import WordTokenizer
from xmc.sparsity.topology import init_index

K = 5
WARM_UP = 20  # documents


@dataclass(frozen=True)
class Row:
    """Milliseconds of a document: its tokens, its features, its ranking, and of the whole, which holds these three."""

    labels: int
    fan_in: int
    threads: int
    tokens: float
    features: float
    ranking: float
    whole: float
    median: float


def texts_of(number: int, words: int, vocabulary: int) -> list[str]:
    """Texts of random words of six letters."""
    rng = random.Random(0)
    names = ["".join(rng.choices(string.ascii_lowercase, k=6)) for _ in range(vocabulary)]
    likely = [1 / n for n in range(1, vocabulary + 1)]
    return [" ".join(rng.choices(names, likely, k=words)) for _ in range(number)]


def random_model(texts: list[str], labels: int, fan_in: int, width: int, vocabulary: int) -> XMCModel:
    """A model that could have been trained on these texts, but was not."""
    torch.manual_seed(0)
    tokenizer = WordTokenizer.learned(texts, vocabulary, min_frequency=1)
    ids = [np.array(row, np.int64) for row in tokenizer(texts, 512).ids]
    offsets = np.cumsum([0, *map(len, ids)])
    bigrams = frequent_bigrams(np.concatenate(ids), offsets, len(tokenizer), 4 * vocabulary, 2)
    bag = BagModel(BagConfig(len(tokenizer), len(bigrams), hidden_size=width))
    bag.bigrams.copy_(torch.from_numpy(bigrams))
    index, generator = init_index(labels, fan_in, width, 0), torch.Generator().manual_seed(0)
    classifier = FixedFanIn(width, index, backend="numba", generator=generator)
    encoder, names = Encoder(bag, tokenizer, pooling="none", max_length=512), [f"label {i}" for i in range(labels)]
    return XMCModel(encoder, Identity(width), classifier, label_ids=names, label_names=names, loss="bce").eval()


def measure(model: XMCModel, texts: list[str], repeats: int) -> Row:
    """Predict the texts one by one, and pass through the parts beside it."""
    for text in texts[:WARM_UP]:
        model.predict([text], k=K)
    times = np.empty((repeats, len(texts), 4))
    for repeat in range(repeats):
        for i, text in enumerate(texts):
            times[repeat, i] = [*_parts(model, text), _timed(partial(model.predict, [text], k=K))]
    tokens, features, ranking, whole = 1000 * times.min(0).mean(0)
    layer, threads = model.classifier.sparse, torch.get_num_threads()
    assert layer is not None
    median = 1000 * statistics.median(times[:, :, 3].ravel())
    return Row(layer.num_labels, layer.active, threads, tokens, features, ranking, whole, median)


@torch.no_grad()
def _parts(model: XMCModel, text: str) -> list[float]:
    clock = [time.perf_counter()]
    ids, mask, _ = model.encoder.tokenize([text])
    clock.append(time.perf_counter())
    features = model.features(ids, mask)
    clock.append(time.perf_counter())
    model.classifier.topk(features, K)
    clock.append(time.perf_counter())
    return np.diff(clock).tolist()


def _timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def table(rows: list[Row]) -> str:
    """In Markdown."""
    parts = ["tokens", "features", "ranking", "whole", "median"]
    head = ("labels", "fan-in", "threads", *(f"{name}, ms" for name in parts))
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        figures = [f"{getattr(row, name):.2f}" for name in parts]
        lines.append("| " + " | ".join([f"{row.labels:,}", str(row.fan_in), str(row.threads), *figures]) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    defaults = {"labels": 15_000, "width": 1024, "vocabulary": 25_000, "words": 100, "documents": 200, "repeats": 10}
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--fan-in", nargs="+", type=int, default=[64, 128])
    parser.add_argument("--threads", nargs="+", type=int, default=[1])
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/document"))
    options = parser.parse_args()
    texts, rows = texts_of(10 * options.documents, options.words, options.vocabulary), []
    for fan_in in options.fan_in:
        model = random_model(texts, options.labels, fan_in, options.width, options.vocabulary)
        for threads in options.threads:
            torch.set_num_threads(threads)
            rows.append(measure(model, texts[: options.documents], options.repeats))
    print(table(rows))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.with_suffix(".json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    print(f"-> {options.out.with_suffix('.json')}")


if __name__ == "__main__":
    main()
