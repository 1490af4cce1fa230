"""The first hour on a GPU: what the tests say there, how fast the op is, how much memory a run takes, what it learns.

usage: python scripts/gpu_first_hour.py OUT [--transformer FOLDER] [--eurlex57k FOLDER] [--dictionary FOLDER]
           [--device cuda] [--minutes 55] [--steps 1500] [--labels 131072 670091 2812281] [--only REGEX] [--toy]

Stage after stage, the tests first. What is finished is not repeated, so the same command may be given again at any
time; a stage that fails or runs out of time is told, and the next one begins. Stages that need a folder that is not
given are left out. Trainings go on where they were interrupted. Writes OUT/gpu.json and OUT/gpu.md.

FOLDER: a Hugging Face encoder, such as BERT-base, or one of random weights is made for what needs none that knows
anything; sets of {train,dev}.jsonl[.gz]. --toy: all of it so small that a CPU is through in minutes (--device cpu).
"""

import argparse
import json
import logging
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xmc.commands.estimate import EstimateConfig
from xmc.config import parse
from xmc.config.compose import compose
from xmc.estimate import count, estimate
from xmc.estimate.memory import CUDA_CONTEXT
from xmc.ops.blocks import label_slices
from xmc.ops.fan_in import FanIn, fan_in_sgd_step, index_dtype, resolve_backend
from xmc.ops.losses import loss_and_gradient_
from xmc.sparsity.topology import init_index
from xmc.types import InPlaceUpdate, Positives

ROOT = Path(__file__).parents[1]
WIDTH, FAN_IN, BATCH, POSITIVES = 768, 64, 128, 36  # of Amazon-3M with BERT-base
DENSE_BLOCK = 8192  # labels that the dense rival multiplies at once
MIB = 2**20
VARIANTS = {
    "sparse": (),
    "sparse, auxiliary": ("auxiliary=clusters",),
    "dense": ("classifier=dense",),
    "dense, auxiliary": ("classifier=dense", "auxiliary=clusters"),
}
Figures = dict[str, Any]
Stage = Callable[[float], Figures]


def main(arguments: list[str] | None = None) -> None:
    """Go through the stages that are not done yet."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("out", type=absolute)
    for folder in ("transformer", "eurlex57k", "dictionary"):
        parser.add_argument(f"--{folder}", type=absolute)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=55)
    parser.add_argument("--steps", type=int, default=1500, help="of each training")
    parser.add_argument("--labels", nargs="+", type=int, default=[131_072, 670_091, 2_812_281])
    parser.add_argument("--only", default="", help="stages whose name has this in it")
    parser.add_argument("--toy", action="store_true")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    path, end = options.out / "gpu.json", time.monotonic() + 60 * options.minutes
    done: dict[str, Figures] = json.loads(path.read_text()) if path.exists() else {}
    for name, stage in stages(options).items():
        left = end - time.monotonic()
        if not re.search(options.only, name) or (name in done and "failed" not in done[name]):
            continue
        if left < 30:
            print(f"{name}: no time is left; give the command again")
            break
        started = time.monotonic()
        try:
            done[name] = stage(left)
        except Exception as error:  # what fails is a finding, and the next stage may not
            done[name] = {"failed": f"{type(error).__name__}: {error}"[-2000:]}
        done[name]["seconds"] = round(time.monotonic() - started, 1)
        path.write_text(json.dumps(done, indent=1) + "\n")
        (options.out / "gpu.md").write_text("\n".join(page(done)) + "\n")
        print(f"{name}: {done[name].get('failed', 'done')}", flush=True)
    print("\n".join(page(done)))


def absolute(path: str) -> Path:
    return Path(path).absolute()


def stages(options: argparse.Namespace) -> dict[str, Stage]:
    """By name; each is told how many seconds are left."""
    device = torch.device(options.device)
    encoder = options.transformer or options.out / "bert"
    found: dict[str, Stage] = {"machine": partial(machine, device), "tests": partial(tests, toy=options.toy)}
    for n in [300] if options.toy else options.labels:
        found[f"dense step, {n} labels"] = partial(timed, device, partial(dense_step, device, n))
        for group in (1, 16, 32):
            for backend in ("auto", "triton", "torch"):
                if backend == "auto" or (group == 1 and serves(device, backend)):
                    step = partial(sparse_step, device, n, group, backend)
                    found[f"{backend} step, {n} labels, groups of {group}"] = partial(timed, device, step)
    found["memory of the Amazon-3M shape"] = partial(memory, options, encoder)
    for name in ("eurlex57k", "dictionary"):
        if (data := getattr(options, name)) is not None and options.transformer is not None:
            for variant, chosen in VARIANTS.items():
                found[f"{name}, {variant}"] = partial(learns, options, encoder, data, chosen)
    for recipe in sorted(path.stem for path in (ROOT / "conf/experiment/recommended").glob("*.yaml")):
        found[f"recipe {recipe}"] = partial(smoke, options, encoder, recipe)
    return found


def serves(device: torch.device, backend: str) -> bool:
    """Whether the back end takes bfloat16 there."""
    try:
        resolve_backend(device, torch.bfloat16, backend)
    except ValueError:
        return False
    return True


def machine(device: torch.device, _: float) -> Figures:
    """What it is. cuda_context_mib: what the process takes beside its tensors, if no other uses the GPU."""
    name, passed_over = resolve_backend(device)
    figures: Figures = {"torch": torch.__version__, "python": platform.python_version()}
    figures |= {"back end": name, "passed over": passed_over}
    if device.type != "cuda":
        return figures | {"card": f"no GPU: {platform.processor() or platform.machine()}"}
    card = torch.cuda.get_device_properties(device)
    free, total = torch.cuda.mem_get_info(device)
    return figures | {
        "card": card.name,
        "capability": f"{card.major}.{card.minor}",
        "memory_mib": card.total_memory // MIB,
        "multiprocessors": card.multi_processor_count,
        "shared_memory": getattr(card, "shared_memory_per_block_optin", None),
        "l2_mib": getattr(card, "L2_cache_size", 0) / MIB,
        "cuda": torch.version.cuda,
        "cuda_context_mib": round((total - free - torch.cuda.memory_reserved(device)) / MIB),
    }


def tests(left: float, toy: bool) -> Figures:
    """`pytest -m gpu`: the op against the reference, every training variant and command."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider"]
    where = ["tests/ops/fan_in/test_devices.py"] if toy else []
    done = subprocess.run([*command, *where], cwd=ROOT, capture_output=True, text=True, timeout=min(left, 1200))
    figures: Figures = {"summary": done.stdout.strip().splitlines()[-1]}
    if done.returncode:
        figures["failed"] = done.stdout[-2000:]
    return figures


def problem(device: torch.device, n_labels: int) -> tuple[Tensor, Positives]:
    """Features in bfloat16 and positives of a batch."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(BATCH, WIDTH, generator=generator).to(device, torch.bfloat16)
    labels = torch.randint(n_labels, (BATCH, POSITIVES), generator=generator).sort(dim=1).values.flatten()
    return features, Positives(torch.arange(BATCH + 1) * POSITIVES, labels, checked=True).to(device)


def sparse_step(device: torch.device, n_labels: int, group: int, backend: str) -> Callable[[], object]:
    """A step in place of bfloat16 weights."""
    torch.manual_seed(0)
    features, positives = problem(device, n_labels)
    index = init_index(-(-n_labels // group), FAN_IN, WIDTH, 0).to(index_dtype(WIDTH)).to(device)
    weight = torch.randn(n_labels, FAN_IN, dtype=torch.bfloat16, device=device) / FAN_IN**0.5
    layer = FanIn(weight, index, torch.zeros(n_labels, device=device))
    update = InPlaceUpdate(1e-3)
    return lambda: fan_in_sgd_step(features, layer, positives, "bce", update, backend=backend)


def dense_step(device: torch.device, n_labels: int) -> Callable[[], object]:
    """The same of a dense layer in bfloat16, a block of labels at a time."""
    features, positives = problem(device, n_labels)
    weight = torch.randn(n_labels, WIDTH, dtype=torch.bfloat16, device=device) / WIDTH**0.5
    documents, grad_features = positives.documents(), torch.zeros(BATCH, WIDTH, device=device)

    def update() -> None:
        for s in label_slices(n_labels, DENSE_BLOCK):
            here = ((positives.labels >= s.start) & (positives.labels < s.stop)).nonzero().squeeze(1)
            logits = (weight[s] @ features.T).float()
            _, gradient = loss_and_gradient_(logits, (positives.labels[here] - s.start, documents[here]), "bce")
            narrow = (gradient / BATCH).to(torch.bfloat16)
            grad_features.add_(narrow.T @ weight[s])
            weight[s].addmm_(narrow, features, alpha=-1e-3)

    return update


def timed(device: torch.device, make: Callable[[], Callable[[], object]], _: float, repeats: int = 15) -> Figures:
    """Median and spread of a call after a few others, which choose configurations; what was chosen, and the memory."""
    told = Told()
    logging.getLogger("xmc").addHandler(told)
    logging.getLogger("xmc").setLevel(logging.INFO)
    call, times = make(), []
    try:
        for _round in range(3):
            call()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        for _round in range(repeats):
            synchronise(device)
            started = time.perf_counter()
            call()
            synchronise(device)
            times.append(1e3 * (time.perf_counter() - started))
    finally:
        logging.getLogger("xmc").removeHandler(told)
    peak = torch.cuda.max_memory_allocated(device) / MIB if device.type == "cuda" else 0
    figures: Figures = {"ms": statistics.median(times), "least_ms": min(times), "most_ms": max(times)}
    return figures | {"peak_mib": round(peak), "tuned": told.messages}


class Told(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def memory(options: argparse.Namespace, encoder: Path, left: float) -> Figures:
    """A few steps of training, beside what `xmc estimate` says of them.

    On a GPU both are tensors alone; what else is estimated, of which `machine` tells the truth, stands apart.
    """
    overrides = [
        *synthetic(options, 300 if options.toy else 2_812_281),
        *("lexical=none", "recipe=none", *transformer(options, encoder)),
        *("classifier.fan_in=64", "classifier.weight_dtype=bfloat16", "classifier/optimizer=sgd"),
        *("trainer.batch_size=128", "trainer.micro_batch_size=32", "trainer.max_steps=10", "trainer.log_every=5"),
    ]
    config = parse(EstimateConfig, compose(overrides, EstimateConfig))
    told = estimate(config, count(config, config.labels_a_document))
    log = train(options.out / "memory", overrides, left)
    peak = max(record["peak_memory_mib"] for record in log if "loss" in record)
    context = CUDA_CONTEXT if torch.device(options.device).type == "cuda" else 0
    figures = {"estimated_mib": round((told.peak - context) / MIB), "measured_mib": round(peak)}
    return figures | {"estimated_context_mib": context // MIB, "allowed_mib_in_all": 4096}


def learns(options: argparse.Namespace, encoder: Path, data: Path, variant: tuple[str, ...], left: float) -> Figures:
    """What a training of so many steps is worth on dev, and how fast it went."""
    steps = 3 if options.toy else options.steps
    name = "-".join([data.name, *variant]).replace("=", "-")
    overrides = [
        *("data=jsonl", f"data.root={data}", f"data.cache_dir={options.out / 'cache'}", "lexical=none", "recipe=none"),
        *(*transformer(options, encoder), *variant, "encoder.lr=5e-5"),
        *(f"trainer.max_steps={steps}", f"trainer.eval_every={steps}", "trainer.batch_size=64"),
        f"trainer.checkpoint_every={max(1, steps // 5)}",
    ]
    if "classifier=dense" not in variant:
        overrides.append(f"classifier.fan_in={8 if options.toy else 64}")
    log = train(options.out / "runs" / name, overrides, left)
    last: Figures = {key: value for record in log for key, value in record.items()}
    shown = ("loss", "documents_per_second", "peak_memory_mib")
    return {key: value for key, value in last.items() if key in shown or key.startswith("dev/")}


def smoke(options: argparse.Namespace, encoder: Path, recipe: str, left: float) -> Figures:
    """Three steps of a recipe on synthetic texts."""
    overrides = [
        *(f"experiment=[recommended/{recipe},gpu/8gb]", *synthetic(options, 300 if options.toy else 100_000)),
        *(*transformer(options, encoder), "trainer.max_steps=3", "trainer.epochs=1", "trainer.log_every=1"),
    ]
    log = train(options.out / "recipes" / recipe, overrides, left)
    return {"losses": [record["loss"] for record in log if "loss" in record]}


def synthetic(options: argparse.Namespace, labels: int) -> list[str]:
    """Of so many labels, texts by the thousand, none of which measures anything."""
    return [
        *("data=synthetic", f"data.num_labels={labels}", f"data.num_documents={200 if options.toy else 2000}"),
        *("data.labels_per_document=3" if options.toy else "data.labels_per_document=36", "data.dev_fraction=0"),
        f"data.cache_dir={options.out / 'cache'}",
    ]


def transformer(options: argparse.Namespace, encoder: Path) -> list[str]:
    """An encoder of Hugging Face, of random weights where none was given, and the device."""
    if not (encoder / "config.json").exists():
        make_bert(encoder, toy=options.toy)
    length = 16 if options.toy else 128
    named = ("encoder=transformer", f"encoder.name={encoder}", f"encoder.max_length={length}")
    return [*named, f"trainer.device={options.device}"]


def train(run: Path, overrides: list[str], left: float) -> list[Figures]:
    """The log of a training, which goes on where it was interrupted; it is interrupted when its time is over."""
    began = (run / "config.yaml").exists()
    given = [f"run={run}", "resume=true"] if began else [f"run={run}", *overrides]
    xmc("train", given, left)
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def xmc(command: str, given: list[str], left: float) -> None:
    """Run a command, and stop it with a checkpoint when its time is over."""
    process = subprocess.Popen(
        [sys.executable, "-m", "xmc", command, *given], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        _, told = process.communicate(timeout=left)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.communicate()
        raise
    if process.returncode:
        raise RuntimeError(told.decode(errors="replace")[-1500:])


def make_bert(folder: Path, *, toy: bool) -> None:
    """BERT-base without its training, and a tokenizer for the words of synthetic documents."""
    from transformers import AutoTokenizer, BertConfig, BertModel

    folder.mkdir(parents=True, exist_ok=True)
    syllables = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *syllables, *(f"##{syllable}" for syllable in syllables)]
    (folder / "vocab.txt").write_text("\n".join(words))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "do_lower_case": true}')
    AutoTokenizer.from_pretrained(folder).save_pretrained(folder)
    config = BertConfig()
    if toy:
        config.update({"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64})
    BertModel(config).save_pretrained(folder)


def page(done: dict[str, Figures]) -> Iterator[str]:
    """The findings as Markdown."""
    yield f"# The first hour on {done.get('machine', {}).get('card', 'no card')}\n"
    steps = {name: figures["ms"] for name, figures in done.items() if "ms" in figures}
    if steps:
        yield from ("| step | ms |", "|---|---|", *(f"| {name} | {ms:.2f} |" for name, ms in steps.items()), "")
    for name, figures in done.items():
        yield from (f"## {name}\n", "| | |", "|---|---|")
        yield from (f"| {key} | {str(value).replace('|', '/')} |".replace("\n", " ") for key, value in figures.items())
        yield ""


if __name__ == "__main__":
    main()
