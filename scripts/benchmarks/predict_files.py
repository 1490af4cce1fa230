"""`xmc predict` over many documents: rate and memory, and whether a run that is killed ends as an undisturbed one.

usage: python scripts/benchmarks/predict_files.py RUN OUT [--documents 1000000] [--files 10] [--words 60]
           [--format jsonl] [--threads 1]

The documents are words of the model's vocabulary, the n-th as likely as 1/n, in files of JSON lines under OUT. One run
is left alone, one is killed with SIGKILL after a third and after two thirds of the documents and given again. Prints,
and writes to OUT/predict-files.json, the seconds of each process, the documents a second of the run that was left alone
from its first document to its last, and its resident memory after a tenth of the documents and at its end. Exits with 1
where the two outputs differ.
"""

import argparse
import filecmp
import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xmc import XMCModel
from xmc.workflow.resuming import manifest_of

PAUSE = 0.05  # seconds from one look to the next


@dataclass(frozen=True)
class Sample:
    """Of a process after so many seconds: documents that it keeps, and its resident memory."""

    seconds: float
    documents: int
    mib: float


def main() -> None:
    """Write the documents, predict them twice, and compare."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=10)
    parser.add_argument("--words", type=int, default=60)
    parser.add_argument("--format", choices=["jsonl", "csv", "parquet"], default="jsonl")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    shutil.rmtree(args.out, ignore_errors=True)
    write_documents(args.run, args.out / "documents", args.documents, args.files, args.words)

    def predict(name: str, stop_at: int | None = None) -> tuple[float, list[Sample]]:
        output = args.out / f"{name}.{args.format}"
        given = (f"run={args.run}", f"input={args.out / 'documents'}", f"output={output}", f"threads={args.threads}")
        return watched(["predict", *given, "resume=true"], output, stop_at)

    seconds, samples = predict("alone")
    killed = [predict("killed", args.documents * part // 3)[0] for part in (1, 2)]
    killed.append(predict("killed")[0])
    same = filecmp.cmp(args.out / f"alone.{args.format}", args.out / f"killed.{args.format}", shallow=False)
    begun = [sample for sample in samples if sample.documents > 0]
    early = next(sample for sample in begun if sample.documents >= args.documents / 10)
    figures = {
        "documents": args.documents,
        "seconds": round(seconds, 1),
        "seconds_killed": [round(one, 1) for one in killed],
        "documents_per_second": round(
            (begun[-1].documents - begun[0].documents) / (begun[-1].seconds - begun[0].seconds)
        ),
        "mib_after_a_tenth": round(early.mib),
        "mib_at_the_end": round(samples[-1].mib),
        "mib_most": round(max(sample.mib for sample in samples)),
        "same_output": same,
    }
    (args.out / "predict-files.json").write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))
    sys.exit(not same)


def write_documents(run: Path, folder: Path, documents: int, files: int, words: int) -> None:
    """Documents by chance, a file at a time."""
    vocabulary = sorted(XMCModel.from_pretrained(run / "model").encoder.tokenizer.vocabulary)
    likely = 1 / np.arange(1, len(vocabulary) + 1)
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for number in range(files):
        with open(folder / f"part-{number:04}.jsonl", "w", encoding="utf-8") as out:
            for i in range(number * documents // files, (number + 1) * documents // files):
                chosen = rng.choice(len(vocabulary), size=words, p=likely / likely.sum())
                text = " ".join(vocabulary[word] for word in chosen)
                out.write(json.dumps({"id": str(i), "text": text}, ensure_ascii=False) + "\n")


def watched(command: list[str], output: Path, stop_at: int | None) -> tuple[float, list[Sample]]:
    """Seconds of a command of xmc and what was seen of it; it is killed once it keeps `stop_at` documents."""
    start, samples = time.perf_counter(), [Sample(0.0, 0, 0.0)]
    with subprocess.Popen([sys.executable, "-m", "xmc", *command]) as process:
        while process.poll() is None:
            time.sleep(PAUSE)
            if (status := Path(f"/proc/{process.pid}/status")).exists():
                lines = [line for line in status.read_text().splitlines() if line.startswith("VmRSS:")]
                mib = int(lines[0].split()[1]) / 2**10 if lines else samples[-1].mib
                samples.append(Sample(time.perf_counter() - start, kept(output), mib))
            if stop_at is not None and samples[-1].documents >= stop_at:
                process.send_signal(signal.SIGKILL)
                break
    if process.returncode != (0 if stop_at is None else -signal.SIGKILL):
        raise SystemExit(f"xmc {' '.join(command)} ended with {process.returncode}")
    return time.perf_counter() - start, samples


def kept(output: Path) -> int:
    manifest = manifest_of(output)
    return int(json.loads(manifest.read_text())["state"]["documents"]) if manifest.exists() else 0


if __name__ == "__main__":
    main()
