"""A small corpus with planted structure, and the command line to train on it."""

import importlib.util
import json
import random
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from in_process import Finished

WORDS = {f"topic{t}": [f"word{t}{c}" for c in "abcdef"] for t in range(12)}


Run = Callable[..., Finished]


def write_corpus(folder: Path, seed: int = 0) -> None:
    """Documents of one or two topics; their labels are the topics, their words the topics' words and some noise."""
    rng = random.Random(seed)
    folder.mkdir(parents=True)
    for split, count in (("train", 400), ("dev", 60), ("test", 60)):
        with open(folder / f"{split}.jsonl", "w") as out:
            for i in range(count):
                topics = rng.sample(sorted(WORDS), rng.choice([1, 2]))
                words = [rng.choice(WORDS[t]) for t in topics for _ in range(8)] + [f"noise{rng.randrange(50)}"]
                rng.shuffle(words)
                out.write(json.dumps({"id": f"{split}{i}", "text": " ".join(words), "labels": topics}) + "\n")
    names = "".join(f"{topic}\tThe topic {topic[5:]}\n" for topic in sorted(WORDS))
    (folder / "labels.tsv").write_text("id\tname\n" + names)


def write_bow(corpus: Path, folder: Path) -> None:
    """The counted words of a corpus as sparse features. Every other document of test must leave out its first label."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = sorted(WORDS)
    words = {word: feature for feature, word in enumerate(word for label in labels for word in WORDS[label])}
    pairs = []
    for split in ("train", "test"):
        documents = [json.loads(line) for line in (corpus / f"{split}.jsonl").read_text().splitlines()]
        with open(folder / f"toy_{split}.txt", "w") as out:
            out.write(f"{len(documents)} {len(words) + 1} {len(labels)}\n")
            for i, document in enumerate(documents):
                counts = Counter(words.get(word, len(words)) for word in document["text"].split())
                places = [labels.index(label) for label in document["labels"]]
                pairs += [f"{i} {places[0]}\n"] if split == "test" and i % 2 == 0 else []
                features = " ".join(f"{feature}:{count}" for feature, count in counts.items())
                out.write(f"{','.join(map(str, places))} {features}\n")
    (folder / "tst_filter_labels.txt").write_text("".join(pairs))


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "xmc", *map(str, arguments)]


def small(corpus: Path, *more: object) -> list[object]:
    """Overrides that make a run small and quick; keys of a group that `more` chooses anew are left to it."""
    defaults = [
        "data=jsonl",
        "recipe=none",
        f"data.root={corpus}",
        f"data.cache_dir={corpus.parent / 'cache'}",
        "encoder.width=32",
        "classifier.fan_in=8",
        "auxiliary=clusters",
        "auxiliary.leaf_size=3",
        "sparsity.interval=10",
        "trainer.epochs=8",
        "trainer.batch_size=16",
        "trainer.threads=1",
        "trainer.log_every=10",
        "trainer.eval_every=40",
    ]
    chosen = {str(override).partition("=")[0] for override in more}
    return [d for d in defaults if d.partition("=")[0] not in chosen and d.partition(".")[0] not in chosen] + [*more]


def script_module(path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A script as a module, known by its name until the test is over."""
    spec = importlib.util.spec_from_file_location(f"script_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module
