"""Mutated data files, each read by `xmc prepare` or `xmc predict`: read, or refused by one clear error."""

import hashlib
import random
from collections.abc import Callable
from pathlib import Path

from .directed import DIRECTED, Directed, Expected
from .formats import FORMATS
from .mutations import mutate
from .outcome import Outcome, Verdict, compared, judge
from .process import Command, Ended
from .stage import Stage

STREAMS = ("jsonl", "csv", "tsv", "parquet")  # that `xmc predict` reads


class Inputs:
    """Each format in turn: a directed change, until all had their turn, or a mutation of a file's bytes."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.run = stage.whole
        self.undisturbed = {}
        for name, write in FORMATS.items():
            root = stage.folder / "formats" / name
            root.mkdir(parents=True)
            write(root)
            ended = self._prepare(name, root, root.parent / f"{name}-cache")
            assert ended.code == 0, ended.stderr
            self.undisturbed[name] = corpus_of(ended)

    def __call__(self, number: int, rng: random.Random, folder: Path) -> tuple[str, Verdict]:
        turn, name = number // 2, list(FORMATS)[number % len(FORMATS)]
        if number % 2 == 0 and turn < len(DIRECTED):
            return self._directed(DIRECTED[turn], folder)
        root = folder / "data"
        root.mkdir()
        FORMATS[name](root)
        path = rng.choice(sorted(root.iterdir()))
        mutation, content = mutate(rng, path.read_bytes())
        path.write_bytes(content)
        skip = rng.random() < 0.3
        what = f"{name} {path.name}, {mutation}{', on_error=skip' if skip else ''}"
        if path.stem == "test" and name in STREAMS and rng.random() < 0.4:
            return f"{what}, predict", self._predict(path)
        return what, judge(self._prepare(name, root, folder / "cache", skip=skip)) or Verdict(Outcome.READ)

    def _directed(self, change: Directed, folder: Path) -> tuple[str, Verdict]:
        root = folder / "data"
        root.mkdir()
        FORMATS[change.format](root)
        change.apply(root)
        ended = self._prepare(change.format, root, folder / "cache")
        what = f"{change.format}: {change.name}"
        wrong = judge(ended)
        if wrong is not None:
            if change.expected == Expected.SAME and wrong.outcome == Outcome.REFUSED:
                wrong = Verdict(Outcome.DIFFERENT, f"refused, where it is well-formed: {wrong.note}")
            return what, wrong
        match change.expected:
            case Expected.REFUSED:
                return what, Verdict(Outcome.DIFFERENT, f"read, where it must be refused: {ended.stdout}")
            case Expected.SAME:
                return what, compared(corpus_of(ended), self.undisturbed[change.format])
        return what, Verdict(Outcome.READ)

    def _prepare(self, name: str, root: Path, cache: Path, skip: bool = False) -> Ended:
        data = [f"data={name}", f"data.root={root}", f"data.cache_dir={cache}"]
        data += ["encoder=sparse_features"] * (name == "bow") + ["data.on_error=skip"] * skip
        return Command("prepare", *data, within=lambda main: _and_tell(main, data)).wait()

    def _predict(self, path: Path) -> Verdict:
        ended = Command("predict", f"run={self.run}", f"input={path}", "threads=1").wait()
        return judge(ended) or Verdict(Outcome.READ)


def corpus_of(ended: Ended) -> dict[str, bytes]:
    """The digests of what `xmc prepare` read."""
    told = [line.split()[1:] for line in ended.stdout.splitlines() if line.startswith("digest ")]
    return {part: digest.encode() for part, digest in told}


def _and_tell(main: Callable[[], None], data: list[str]) -> None:
    """Prepare, then tell the digests of what was read."""
    main()
    from xmc.config import TrainConfig, parse
    from xmc.config.compose import compose

    corpus = parse(TrainConfig, compose(data)).data.load()
    for split, documents in corpus.splits.items():
        labels = documents.labels.tocsr()
        values = [list(documents.ids), list(documents.texts), labels.indptr.tolist(), labels.indices.tolist()]
        print("digest", split, hashlib.sha256(repr(values).encode()).hexdigest())
