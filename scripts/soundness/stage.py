"""What is attacked: a corpus of a hundred documents, and runs on it that nothing disturbed."""

import json
import random
import shutil
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from .process import Command, Ended, warm_run

TOPICS = {f"topic{t}": [f"word{t}{c}" for c in "abcdef"] for t in range(6)}
NEW_TOPIC = "unheard"
STEPS, CUT = 24, 10  # of a run; where the checkpoint lies that is attacked


def documents(split: str, count: int) -> list[dict[str, Any]]:
    """Documents of one or two topics, whose words tell them."""
    rng, made = random.Random(split), []
    for i in range(count):
        topics = rng.sample(sorted(TOPICS), rng.choice([1, 2]))
        words = [rng.choice(TOPICS[t]) for t in topics for _ in range(6)] + [f"noise{rng.randrange(20)}"]
        rng.shuffle(words)
        made.append({"id": f"{split}{i}", "text": " ".join(words), "labels": topics})
    return made


SPLITS = {split: documents(split, count) for split, count in (("train", 80), ("dev", 20), ("test", 20))}


def write_corpus(folder: Path) -> None:
    """The corpus in the layout data=jsonl, and examples of a new label."""
    folder.mkdir(parents=True)
    for split, docs in SPLITS.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(document) + "\n" for document in docs))
    names = "".join(f"{topic}\tThe topic {topic[5:]}\n" for topic in TOPICS)
    (folder / "labels.tsv").write_text("id\tname\n" + names)
    examples = [{"text": document["text"], "labels": [NEW_TOPIC]} for document in documents("examples", 8)]
    (folder.parent / "examples.jsonl").write_text("".join(json.dumps(example) + "\n" for example in examples))


class Stage:
    """Runs and caches in a folder, made once and copied by each trial."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.cache = folder / "cache"
        self.test = self.data / "test.jsonl"
        self.examples = folder / "examples.jsonl"
        write_corpus(self.data)
        warm_run("train", *self.training(folder / "warm" / "run"))
        warm_run("predict", f"run={folder / 'warm' / 'run'}", f"input={self.test}", f"output={folder / 'warm' / 'out'}")

    def training(self, run: Path, cache: Path | None = None, *more: object) -> list[object]:
        """Overrides of a short run that checkpoints and evaluates several times."""
        return [
            *("data=jsonl", f"data.root={self.data}", f"data.cache_dir={cache or self.cache}", f"run={run}"),
            *("classifier.fan_in=8", "sparsity.interval=5", "trainer.threads=1", "trainer.batch_size=8"),
            *(f"trainer.max_steps={STEPS}", "trainer.log_every=4", "trainer.eval_every=8"),
            *("trainer.checkpoint_every=5", *([] if more else ["encoder.width=32"]), *more),
        ]

    @cached_property
    def whole(self) -> Path:
        """A finished run."""
        run = self.folder / "whole" / "run"
        succeed("train", *self.training(run))
        return run

    @cached_property
    def cut(self) -> Path:
        """The same run, stopped after its checkpoint of step CUT."""
        run = self.folder / "cut" / "run"
        assert self.whole.exists()  # so that its caches are full
        ended = Command("train", *self.training(run), within=_stopped_at(CUT)).wait()
        assert ended.code == 0 and not (run / "model").exists(), ended.stderr
        return run

    @cached_property
    def calibrated(self) -> Path:
        """The finished run with thresholds of its labels."""
        return self.copy(
            self.whole, self.folder / "calibrated", after=["calibrate", "per_label=true", "min_positives=2"]
        )

    @cached_property
    def encoder(self) -> Path:
        """A tiny BERT as a local Hugging Face folder, whose words are those of the corpus."""
        import torch
        from transformers import AutoTokenizer, BertConfig, BertModel

        folder = self.folder / "encoder"
        folder.mkdir()
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(word for words in TOPICS.values() for word in words)]
        (folder / "vocab.txt").write_text("\n".join(words) + "\n")
        config = BertConfig(
            vocab_size=len(words),
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=32,
        )
        (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
        torch.manual_seed(0)
        BertModel(config).save_pretrained(folder)
        AutoTokenizer.from_pretrained(folder).save_pretrained(folder)
        return folder

    @staticmethod
    def with_encoder(folder: Path) -> list[object]:
        return ["encoder=transformer", f"encoder.name={folder}", "encoder.max_length=24"]

    def transformer(self, name: str, *more: object) -> Path:
        """A finished and calibrated run of the tiny BERT."""
        run = self.folder / name / "run"
        succeed("train", *self.training(run, None, *self.with_encoder(self.encoder), *more))
        succeed("calibrate", f"run={run}", "per_label=true", "min_positives=2", "threads=1")
        return run

    def copy(self, run: Path, folder: Path, *, cache: Path | None = None, after: list[object] | None = None) -> Path:
        """A copy `<folder>/run` of a run, whose configuration names that cache. after: a command to give to it."""
        target = folder / "run"
        shutil.copytree(run, target)
        config = target / "config.yaml"
        text = config.read_text().replace(f"run: {run}\n", f"run: {target}\n")
        config.write_text(text if cache is None else text.replace(str(self.cache), str(cache)))
        if after is not None:
            succeed(after[0], f"run={target}", *after[1:], "threads=1")
        return target


def succeed(*arguments: object) -> Ended:
    """A command that must succeed, for there is no attack without it."""
    ended = Command(*arguments).wait(600)
    if ended.code != 0:
        raise RuntimeError(f"xmc {' '.join(map(str, arguments))}: {ended.code}\n{ended.stdout}\n{ended.stderr}")
    return ended


def contents(folder: Path, at: Path | None = None) -> dict[str, bytes]:
    """The files below a folder, by name; where they tell the place `at`, it reads `@`."""
    place = str(at or folder).encode()
    return {name: path.read_bytes().replace(place, b"@") for name, path in files(folder)}


def files(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(folder)), path


def _stopped_at(step: int) -> Callable[[Callable[[], None]], None]:
    def within(main: Callable[[], None]) -> None:
        from xmc.train.checkpoint import Checkpoints

        save = Checkpoints.save

        def save_and_stop(self: Checkpoints, at: int, *arguments: object, **more: object) -> None:
            save(self, at, *arguments, **more)  # type: ignore[arg-type]
            if at == step:
                raise SystemExit(0)

        Checkpoints.save = save_and_stop  # type: ignore[assignment, method-assign]
        main()

    return within
