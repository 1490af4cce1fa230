"""What Ray and Spark are given to do, without them: tables of documents in, the columns of xmc predict out."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from harness import Run, small, write_bow

from xmc.errors import XMCError
from xmc.integrations import tables
from xmc.integrations.tables import Predictor, Work
from xmc.model.saved import CARD
from xmc.workflow.run_folder import load_model
from xmc.workflow.sinks import prediction_schema

DOCUMENTS = [
    {"ppn": i, "title": None if i % 9 == 4 else f"word{i % 12}a", "text": [f"word{i % 7}b", "", f"word{i % 5}c"]}
    for i in range(200)
]


@pytest.fixture(autouse=True)
def rayon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYON_NUM_THREADS", "1")


def predicted(documents: pa.Table, run: Path, **settings: Any) -> pa.Table:
    work = Work.of(run, settings)
    return pa.concat_tables(
        [prediction_schema().empty_table(), *Predictor(work, threads=1)(documents.select(work.columns))]
    )


@pytest.mark.parametrize("asked", [{"k": 3}, {"threshold": 0.4}])
def test_what_xmc_predict_writes(trained: Path, tmp_path: Path, xmc: Run, asked: dict[str, Any]) -> None:
    given = pa.Table.from_pylist(DOCUMENTS)
    pq.write_table(given, tmp_path / "docs.parquet")
    fields = {"text_fields": ["title", "text"], "text_separator": " ", "id_field": "ppn"}
    typed = [f"{key}={json.dumps(value)}" for key, value in {**fields, **asked}.items()]
    output = tmp_path / "out.parquet"
    xmc("predict", f"run={trained}", f"input={tmp_path / 'docs.parquet'}", f"output={output}", *typed)
    whole = pq.read_table(output)
    assert predicted(given, trained, **fields, **asked).equals(whole)
    parts = [predicted(given.slice(start, 77), trained / "model", **fields, **asked) for start in (0, 77, 154)]
    assert pa.concat_tables(parts).equals(whole), "of a saved model, in tables of any size"


def test_fields_are_those_of_training(corpus: Path, tmp_path: Path, xmc: Run) -> None:
    run = tmp_path / "run"
    xmc("train", *small(corpus, f"run={run}", "trainer.epochs=1", "data.text_fields=[text,id]", "data.id_field=null"))
    assert Work.of(run, {}).columns == ["id", "text"]
    assert Work.of(run, {"text_fields": "title", "id_field": "ppn"}).columns == ["ppn", "title"]


def test_documents_that_cannot_be_used(trained: Path, caplog: pytest.LogCaptureFixture) -> None:
    documents = pa.table({"id": ["a", "b", None, "", "e"], "text": ["word1a", " ", "word2a", "word3a", "word4a"]})
    with pytest.raises(XMCError, match=r"document 'b': empty text: nothing in 'text'; .* on_error='skip' leaves out"):
        predicted(documents, trained)
    with pytest.raises(XMCError, match=r"a document has None as 'id'; expected its id, a text or a whole number"):
        predicted(documents.slice(2), trained)
    assert predicted(documents, trained, on_error="skip")["id"].to_pylist() == ["a", "e"]
    assert "skipped 3 of 5 documents; the first: document 'b': empty text" in caplog.text
    assert len(predicted(documents.slice(1, 1), trained, on_error="skip")) == 0


def test_mistakes_are_told_where_the_work_is_given_out(trained: Path, tmp_path: Path) -> None:
    for settings, told in [
        ({"treshold": 0.5}, "treshold: unknown key; did you mean 'threshold'"),
        ({"k": 0}, "k: got 0"),
        ({"threshold": 2}, "threshold: got 2; give auto, a probability"),
    ]:
        with pytest.raises(XMCError, match=told):
            Work.of(trained, settings)
    with pytest.raises(XMCError, match="holds no model"):
        Work.of(tmp_path, {})


def test_a_process_loads_a_model_once(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, loads = shutil.copytree(trained, tmp_path / "run"), []
    model = load_model(run, torch.device("cpu"))
    monkeypatch.setattr(tables, "load_model_or_blend", lambda folder, _: loads.append(folder) or model)
    for k in (1, 2):
        Predictor(Work.of(run, {"k": k}), threads=1)
    assert loads == [run / "model"]
    with open(run / "model" / CARD, "a") as card:
        card.write("\n")
    Predictor(Work.of(run, {}), threads=1)
    assert len(loads) == 2, "it is another model now"


def test_sparse_features_are_told(corpus: Path, tmp_path: Path, xmc: Run) -> None:
    write_bow(corpus, tmp_path / "bow")
    run = tmp_path / "run"
    chosen = ("data=bow", "encoder=sparse_features", f"data.root={tmp_path / 'bow'}", "trainer.epochs=1")
    xmc("train", *small(corpus, f"run={run}", *chosen))
    with pytest.raises(XMCError, match="reads sparse features, not texts; `xmc predict shard=i/n` takes these"):
        Predictor(Work.of(run, {}), threads=1)
