"""On the real Ray Data and the real Spark: XMC_CLUSTERS_PYTHON is the Python of an environment with both, and with what
xmc needs. Ray's join needs polars, too, Spark a Java.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from harness import Run

from xmc.workflow.sinks import prediction_schema

pytestmark = pytest.mark.slow
DOCUMENTS = 600
RAY = """
import sys
import ray
from ray.data import ActorPoolStrategy, DataContext
from ray.data.checkpoint import CheckpointConfig
from xmc.integrations.ray import predict

run, documents, output = sys.argv[1:]
ray.init(num_cpus=3, include_dashboard=False)
context = DataContext.get_current()
context.execution_options.preserve_order = True
given = ray.data.read_json(documents, override_num_blocks=6)
of_all = predict(given, run, k=3, on_error="skip", compute=ActorPoolStrategy(size=2)).materialize()
of_all.write_parquet(f"{output}/whole")
print("ids", *[row["id"] for row in of_all.select_columns(["id"]).take_all()])

done = ray.data.read_parquet(f"{output}/done").select_columns(["id"])
rest = given.join(done, "left_anti", num_partitions=2, on=("id",))
predict(rest, run, k=3, on_error="skip").write_parquet(f"{output}/rest")

context.checkpoint_config = CheckpointConfig("id", f"{output}/checkpoint", delete_checkpoint_on_success=False)
for most in (250, 600):
    part = ray.data.read_json(documents, override_num_blocks=6).limit(most)
    predict(part, run, k=3, on_error="skip").write_parquet(f"{output}/kept")
"""
SPARK = """
import sys
from pyspark.sql import SparkSession
from xmc.integrations.spark import predict

run, documents, output = sys.argv[1:]
spark = SparkSession.builder.master("local[2]").config("spark.ui.enabled", False).getOrCreate()
given = spark.read.schema("id string, text string").json(documents).repartition(5)
of_all = predict(given, run, k=3, on_error="skip")
of_all.write.parquet(f"{output}/whole")
print("same columns", of_all.schema == spark.read.parquet(f"{output}/done").schema)

rest = given.join(spark.read.parquet(f"{output}/done"), "id", "left_anti")
predict(rest, run, k=3, on_error="skip").write.parquet(f"{output}/rest")
try:
    predict(given, run).count()
except Exception as error:
    print("told", str(error))
"""

Engine = Callable[..., str]


@pytest.fixture(scope="module")
def engine() -> Engine:
    """Runs a script in that Python, with the package under test, and gives what it prints."""
    if not (python := os.environ.get("XMC_CLUSTERS_PYTHON")):
        pytest.skip("XMC_CLUSTERS_PYTHON names no Python of an environment with Ray and Spark")

    def run(needs: str, script: str, *arguments: object) -> str:
        if subprocess.run([python, "-c", f"import {needs}, torch, hydra"], capture_output=True).returncode:
            pytest.skip(f"the environment of XMC_CLUSTERS_PYTHON lacks {needs}, or what xmc needs")
        told = {"PYTHONPATH": str(Path(__file__).parents[2]), "PYSPARK_PYTHON": python, "RAY_USAGE_STATS_ENABLED": "0"}
        command = [python, "-c", script, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **told})
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def whole(trained: Path, tmp_path_factory: pytest.TempPathFactory, xmc: Run) -> Path:
    """Documents, what `xmc predict` says of them, and a third of that as `done`."""
    folder = tmp_path_factory.mktemp("clusters")
    documents = ({"id": f"d{i:03}", "text": "" if i == 7 else f"word{i % 12}a word{i % 7}b"} for i in range(DOCUMENTS))
    (folder / "docs.jsonl").write_text("".join(json.dumps(document) + "\n" for document in documents))
    given = (f"run={trained}", f"input={folder / 'docs.jsonl'}", f"output={folder / 'whole.parquet'}")
    xmc("predict", *given, "k=3", "on_error=skip")
    (folder / "done").mkdir()
    pq.write_table(pq.read_table(folder / "whole.parquet").slice(0, 200), folder / "done" / "0.parquet")
    return folder


def written(folder: Path) -> pa.Table:
    """All of a folder, by id."""
    parts = [pq.read_table(path).cast(prediction_schema()) for path in folder.glob("*.parquet")]
    return pa.concat_tables(parts).sort_by("id").combine_chunks()


def check(output: Path, whole: Path) -> None:
    """The predictions are those of `xmc predict`, of all and of the rest behind what is done."""
    expected = pq.read_table(whole / "whole.parquet")
    assert len(expected) == DOCUMENTS - 1
    assert written(output / "whole").equals(expected)
    assert written(output / "rest").equals(expected.slice(200))


def test_ray_says_what_xmc_predict_says(trained: Path, tmp_path: Path, whole: Path, engine: Engine) -> None:
    shutil.copytree(whole / "done", tmp_path / "done")
    told = engine("ray.data, polars", RAY, trained, whole / "docs.jsonl", tmp_path)
    check(tmp_path, whole)
    ids = pq.read_table(whole / "whole.parquet")["id"].to_pylist()
    assert next(line for line in told.splitlines() if line.startswith("ids")).split()[1:] == ids, "in order"
    assert written(tmp_path / "kept")["id"].to_pylist() == ids, "each once, of a job that went on"


def test_spark_says_what_xmc_predict_says(trained: Path, tmp_path: Path, whole: Path, engine: Engine) -> None:
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        pytest.skip("Spark needs a Java")
    shutil.copytree(whole / "done", tmp_path / "done")
    told = engine("pyspark", SPARK, trained, whole / "docs.jsonl", tmp_path)
    check(tmp_path, whole)
    assert "same columns True" in told
    assert "document 'd007': empty text: nothing in 'text'" in told and "on_error='skip'" in told
