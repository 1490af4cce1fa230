"""The same documents through `xmc predict`, its jobs, Ray Data and Spark: their rates, and whether they say the same.

usage: python scripts/benchmarks/clusters.py RUN TEXTS OUT [--documents 100000] [--files 10] [--cores 2]
           [--engines predict jobs ray spark]

TEXTS is a file of documents as RUN was trained on. Of them others are made, the first half of one behind the second
half of another, in files of JSON lines under OUT. Each engine has so many cores: `predict` one process of so many
threads, `jobs` so many processes with a shard each, Ray and Spark so many workers. Prints, and writes to
OUT/clusters.json, of each the seconds from its start to its end, documents a second, and the most memory of all its
processes together. Exits with 1 where the predictions, sorted by id, are not all the same.

It needs what `pip install "xmc[ray,spark]"` brings, for Spark a Java, and Linux.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from xmc.config import load_run_config
from xmc.data.documents import read_documents
from xmc.data.sources import Sources
from xmc.errors import XMCError
from xmc.workflow.sinks import prediction_schema

PAUSE = 2.0  # seconds from one look to the next


@dataclass(frozen=True)
class Task:
    """What every engine does."""

    run: Path
    documents: Path
    output: Path
    cores: int


@dataclass(frozen=True)
class Figures:
    """What it took. mib: of all processes at once, shared memory once."""

    seconds: float
    documents_per_second: int
    mib: int


def main() -> None:
    """Write the documents, predict them by each engine, and compare."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("run", type=Path)
    parser.add_argument("texts")
    parser.add_argument("out", type=Path)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--files", type=int, default=10)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    args = parser.parse_args()
    shutil.rmtree(args.out, ignore_errors=True)
    write_documents(args.run, args.texts, args.out / "documents", args.documents, args.files)
    figures, tables = {}, []
    for name in args.engines:
        output = args.out / name
        output.mkdir()
        seconds, mib = measured(ENGINES[name], Task(args.run, args.out / "documents", output, args.cores))
        figures[name] = Figures(round(seconds, 1), round(args.documents / seconds), round(mib))
        tables.append(predictions(output))
        print(name, figures[name], flush=True)
    same = all(table.equals(tables[0]) for table in tables) and len(tables[0]) == args.documents
    told = {"documents": args.documents, "same": same, **{name: asdict(one) for name, one in figures.items()}}
    (args.out / "clusters.json").write_text(json.dumps(told, indent=2) + "\n")
    print(json.dumps(told, indent=2))
    sys.exit(not same)


def write_documents(run: Path, texts: str, folder: Path, documents: int, files: int) -> None:
    """Halves of texts put together by chance, a file at a time."""
    fields = load_run_config(run).data.fields
    read = read_documents(Sources([texts]), fields.text, None, fields.text_separator)
    words = [document[1].split(" ") for document in read if not isinstance(document, XMCError)]
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for number in range(files):
        with open(folder / f"part-{number:04}.jsonl", "w", encoding="utf-8") as out:
            for i in range(number * documents // files, (number + 1) * documents // files):
                first, second = (words[row] for row in rng.integers(len(words), size=2))
                text = " ".join([*second[len(second) // 2 :], *first[: -(-len(first) // 2)]])
                out.write(json.dumps({"id": f"d{i:07}", "text": text}, ensure_ascii=False) + "\n")


def by_predict(task: Task) -> None:
    started(task, "all", f"threads={task.cores}")()


def by_jobs(task: Task) -> None:
    jobs = [started(task, f"{i}", "threads=1", f"shard={i}/{task.cores}") for i in range(1, task.cores + 1)]
    for wait in jobs:
        wait()


def started(task: Task, name: str, *more: str) -> Callable[[], None]:
    """Starts `xmc predict`; gives what waits for it."""
    output = task.output / f"{name}.parquet"
    given = (f"run={task.run}", f"input={task.documents}", f"output={output}", "text_fields=text", "k=5")
    process = subprocess.Popen([sys.executable, "-m", "xmc", "predict", *given, *more])

    def wait() -> None:
        if process.wait():
            raise SystemExit(f"xmc predict ended with {process.returncode}")

    return wait


def by_ray(task: Task) -> None:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    from xmc.integrations.ray import predict

    ray.init(num_cpus=task.cores + 1, include_dashboard=False)  # one reads
    documents = ray.data.read_json([str(path) for path in sorted(task.documents.iterdir())])
    workers = ray.data.ActorPoolStrategy(size=task.cores)
    predict(documents, task.run, k=5, text_fields="text", compute=workers).write_parquet(str(task.output))


def by_spark(task: Task) -> None:
    from pyspark.sql import SparkSession

    from xmc.integrations.spark import predict

    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = SparkSession.builder.master(f"local[{task.cores}]").config("spark.ui.enabled", False)
    spark = builder.getOrCreate()
    documents = spark.read.schema("id string, text string").json(str(task.documents))
    predict(documents, task.run, k=5, text_fields="text").write.mode("append").parquet(str(task.output))


ENGINES: dict[str, Callable[[Task], None]] = {
    "predict": by_predict,
    "jobs": by_jobs,
    "ray": by_ray,
    "spark": by_spark,
}


def measured(engine: Callable[[Task], None], task: Task) -> tuple[float, float]:
    """Seconds of an engine in a process of its own, and the most MiB of that and all below it."""
    process = multiprocessing.get_context("spawn").Process(target=engine, args=(task,))
    start, most = time.perf_counter(), 0.0
    process.start()
    while process.is_alive():
        process.join(PAUSE)
        most = max(most, memory(process.pid or 0))
    if process.exitcode:
        raise SystemExit(f"{engine.__name__} ended with {process.exitcode}")
    return time.perf_counter() - start, most


def memory(root: int) -> float:
    """MiB of a process and all that it has started; what several share is divided among them."""
    above, total = {}, 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            above[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended
            continue
    for pid in above:
        one = pid
        while one not in (root, 0):
            one = above.get(one, 0)
        if one:
            total += proportional(pid)
    return total / 2**10


def proportional(pid: int) -> int:
    """KiB of a process."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def predictions(folder: Path) -> pa.Table:
    """All that was written, by id."""
    parts = [pq.read_table(path).cast(prediction_schema()) for path in sorted(folder.glob("*.parquet"))]
    return pa.concat_tables(parts).sort_by("id").combine_chunks()


if __name__ == "__main__":
    main()
