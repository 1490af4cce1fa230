"""What each route answers, and what it refuses."""

import json
import threading
from pathlib import Path
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from served import Answer, Server, make_model, running, with_limits

from xmc.model import XMCModel
from xmc.storage import whole_folder


def problem(answer: Answer, status: int, told: str = "") -> None:
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["status"] == status and answer.json["title"] and told in answer.json["detail"]


def test_predict_takes_texts_or_documents(server: Server, calibrated: XMCModel) -> None:
    texts = ["open the file", "the cat"]
    expected = calibrated.predict(texts, 3)
    answer = server.ask("/v1/predict", {"texts": texts, "k": 3}).json
    assert answer["model"] == "books" and [result["id"] for result in answer["results"]] == ["1", "2"]
    for result, labels in zip(answer["results"], expected, strict=True):
        assert result["labels"] == [{"label": p.label, "name": p.name, "score": p.score} for p in labels]
    documents = [{"id": "x", "text": texts[0]}, {"text": texts[1]}]
    named = server.ask("/v1/predict", {"documents": documents, "k": 3, "model": "books"}).json
    assert [result["id"] for result in named["results"]] == ["x", "2"]
    assert [result["labels"] for result in named["results"]] == [result["labels"] for result in answer["results"]]
    assert server.ask("/v1/predict", {"texts": []}).json["results"] == []


def test_thresholds(server: Server, calibrated: XMCModel) -> None:
    for threshold in (None, 0, 0.6, 1, "auto"):
        answer = server.ask("/v1/predict", {"texts": ["open the cat"], "threshold": threshold}).json
        expected = calibrated.predict(["open the cat"], threshold=threshold)[0]
        assert [label["label"] for label in answer["results"][0]["labels"]] == [p.label for p in expected]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "body"),
        (b"{", "JSON"),
        (b"[]", "body"),
        (b'{"texts": ["a"], "k": NaN}', "body.k"),
        (b'{"texts": ["a"], "threshold": NaN}', "finite"),
        (b'{"texts": ["a"], "threshold": 1e999}', "threshold"),
        (b'{"texts": ["\\ud800"]}', "JSON"),
        (b'{"texts": ["\xff"]}', "JSON"),
        (b"[" * 10_000, "JSON"),
        (b'{"texts":' + b'{"a":' * 3000 + b"1", "JSON"),
        ({}, "texts or documents"),
        ({"texts": ["a"], "documents": []}, "texts or documents"),
        ({"texts": "a"}, "body.texts"),
        ({"texts": [1]}, "body.texts.0"),
        ({"texts": [""]}, "text 0 is empty"),
        ({"texts": ["a", " \n"]}, "text 1 is empty"),
        ({"texts": ["a"], "k": 0}, "body.k"),
        ({"texts": ["a"], "k": 31}, "30 labels at most"),
        ({"texts": ["a"], "k": 10**30}, "30 labels at most"),
        ({"texts": ["a"], "k": "3"}, "body.k"),
        ({"texts": ["a"], "k": 2.5}, "body.k"),
        ({"texts": ["a"], "k": True}, "body.k"),
        ({"texts": ["a"], "threshold": 1.5}, "less than or equal to 1"),
        ({"texts": ["a"], "threshold": "automatic"}, "body.threshold"),
        ({"texts": ["a"], "topk": 3}, "body.topk"),
        ({"documents": [{"id": 1, "text": "a"}]}, "body.documents.0.id"),
    ],
)
def test_what_is_malformed_is_a_problem(server: Server, body: object, told: str) -> None:
    problem(server.ask("/v1/predict", body, Content_Type="application/json"), 422, told)


def test_unknown_models_and_routes(server: Server) -> None:
    problem(server.ask("/v1/predict", {"texts": ["a"], "model": "nope"}), 404, "there is books")
    problem(server.ask("/v1/projects/nope"), 404, "there is books")
    problem(server.ask("/v1/nothing"), 404)
    problem(server.ask("/v1/predict"), 405)
    assert server.ask("/v1/predict").headers["allow"] == "POST"


def test_too_much_is_refused(server: Server) -> None:
    problem(server.ask("/v1/predict", {"texts": ["a"] * 41}), 413, "40 at most")
    problem(server.ask("/v1/predict", {"texts": ["a" * 21_000]}), 413, "20,000 bytes")


def test_a_model_without_thresholds(tmp_path: Path, calibrated: XMCModel) -> None:
    make_model().save_pretrained(tmp_path / "plain")
    with running(tmp_path / "plain") as server:
        problem(server.ask("/v1/predict", {"texts": ["a"], "threshold": "auto"}), 422, "no thresholds")
        assert server.ask("/v1/models").json["models"][0]["threshold"] is None


def test_annif(server: Server, calibrated: XMCModel) -> None:
    """As Annif answers: https://api.annif.org/v1/ui/."""
    (project,) = server.ask("/v1/projects").json["projects"]
    assert project == server.ask("/v1/projects/books").json
    assert project["project_id"] == "books" and project["is_trained"] and project["backend"] == {"backend_id": "xmc"}
    form = urlencode({"text": "öpen the file", "limit": 2, "project": "books", "language": "en"}).encode()
    kind = "application/x-www-form-urlencoded"
    results = server.ask("/v1/projects/books/suggest", form, Content_Type=kind).json["results"]
    expected = [
        {"uri": p.label, "label": p.name, "notation": None, "score": p.score}
        for p in calibrated.predict(["öpen the file"], 2)[0]
    ]
    assert results == expected
    assert len(server.ask("/v1/projects/books/suggest", b"text=file", Content_Type=kind).json["results"]) == 10
    least = server.ask("/v1/projects/books/suggest", b"text=file&threshold=0.6", Content_Type=kind).json["results"]
    assert all(result["score"] >= 0.6 for result in least)
    batch = {"documents": [{"text": "öpen the file", "document_id": "d"}, {"text": "the cat"}]}
    first, second = server.ask("/v1/projects/books/suggest-batch?limit=2", batch).json
    assert first == {"document_id": "d", "results": expected}
    assert second["document_id"] is None and len(second["results"]) == 2
    problem(server.ask("/v1/projects/books/suggest-batch", {"documents": [{"text": "a"}] * 33}), 413, "32 at most")
    for query in ("limit=0", "limit=x", "threshold=2", "threshold=nan"):
        problem(server.ask(f"/v1/projects/books/suggest-batch?{query}", batch), 422)


@pytest.mark.parametrize(
    "form",
    [b"", b"limit=3", b"text=a&limit=0", b"text=a&threshold=nan", b"text=%ff", b"text=\xff", b"text=+", b"&" * 99],
)
def test_annif_forms_that_are_none(server: Server, form: bytes) -> None:
    kind = "application/x-www-form-urlencoded"
    problem(server.ask("/v1/projects/books/suggest", form, Content_Type=kind), 422)


def test_text_embeddings_inference(server: Server, calibrated: XMCModel) -> None:
    (expected,) = calibrated.predict(["the cat"], 5)
    scores = [{"score": p.score, "label": p.label} for p in expected]
    assert server.ask("/predict", {"inputs": "the cat"}).json == scores
    assert server.ask("/predict", {"inputs": ["the cat"]}).json == scores
    assert server.ask("/predict", {"inputs": [["the cat"], ["the cat"]], "truncate": True}).json == [scores, scores]
    raw = server.ask("/predict", {"inputs": "the cat", "raw_scores": True}).json
    assert [one["score"] for one in raw] == [p.logit for p in expected]
    assert server.ask("/predict", {"inputs": []}).json == []
    problem(server.ask("/predict", {"inputs": ["a", "b"]}), 422, "pairs")
    problem(server.ask("/predict", {"inputs": [["a", "b"]]}), 422, "pairs")
    problem(server.ask("/predict", {"inputs": 1}), 422)


def test_reasons_where_there_are_none(server: Server) -> None:
    if server.ask("/v1/models").json["models"][0]["explains"]:
        answer = server.ask("/v1/explain", {"text": "the cat", "labels": ["l1"]}).json
        assert answer["explanations"][0]["label"] == "l1"
        problem(server.ask("/v1/explain", {"text": "the cat", "labels": ["nope"]}), 422)
    else:
        problem(server.ask("/v1/explain", {"text": "the cat", "labels": ["l1"]}), 422, "no reasons")


def test_health_and_figures(server: Server) -> None:
    server.ask("/v1/predict", {"texts": ["a"]})
    assert server.ask("/health/live").json == {"status": "ok"}
    ready = server.ask("/health/ready").json
    assert ready["status"] == "ok" and list(ready["models"]) == ["books"] and ready["not_taken_over"] == {}
    figures = server.ask("/metrics")
    assert figures.headers["content-type"].startswith("text/plain")
    for name in ("xmc_requests_total", "xmc_request_seconds_bucket", "xmc_batch_documents", "xmc_queue_documents"):
        assert name in figures.body.decode()
    assert 'route="/v1/predict",status="200"' in figures.body.decode()


def test_the_description_of_the_interface(server: Server) -> None:
    api = server.ask("/openapi.json").json
    for path in ("/v1/predict", "/v1/projects/{project_id}/suggest", "/predict", "/health/ready", "/metrics"):
        assert path in api["paths"]
    body = api["paths"]["/v1/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["$ref"].endswith("PredictRequest")


def test_what_is_queued_beyond_room_is_429(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = threading.Event()

    def slow(self, texts, *_):  # type: ignore[no-untyped-def]
        assert free.wait(20)
        return [[] for _ in texts]

    with running(model_folder, with_limits(deadline=1.0), room=40) as server:
        monkeypatch.setattr(XMCModel, "predict", slow)
        answers = []
        threads = [
            threading.Thread(target=lambda: answers.append(server.ask("/v1/predict", {"texts": ["a"] * 30})))
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        free.set()
        full = [answer for answer in answers if answer.status == 429]
        late = [answer for answer in answers if answer.status == 504]
        assert full and late and len(full) + len(late) == 3
        assert int(full[0].headers["retry-after"]) >= 1
        problem(full[0], 429)
        problem(late[0], 504)


def test_a_fault_of_our_own_is_500_and_tells_nothing(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(self, texts, *_):  # type: ignore[no-untyped-def]
        raise RuntimeError("secret")

    with running(model_folder) as server:
        with monkeypatch.context() as patch:
            patch.setattr(XMCModel, "predict", broken)
            answer = server.ask("/v1/predict", {"texts": ["a"]})
        problem(answer, 500)
        assert b"secret" not in answer.body
        assert server.ask("/v1/predict", {"texts": ["a"]}).status == 200
    assert "secret" in caplog.text


def test_a_new_model_is_taken_over_under_load(tmp_path: Path, calibrated: XMCModel) -> None:
    place = tmp_path / "current"
    calibrated.save_pretrained(place)
    with running(place, watch=0.05) as server:
        statuses: list[int] = []
        sizes: list[int] = []
        stop = threading.Event()

        def ask() -> None:
            while not stop.is_set():
                answer = server.ask("/v1/predict", {"texts": ["the cat", "a dog"], "k": 30})
                statuses.append(answer.status)
                sizes.append(len({len(result["labels"]) for result in answer.json["results"]}))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for labels in (9, 40, 12):
            with whole_folder(place) as folder:
                make_model(labels=labels).save_pretrained(folder)
            for _ in range(400):
                if server.ask("/v1/models").json["models"][0]["labels"] == labels:
                    break
                threading.Event().wait(0.02)
            else:
                raise AssertionError("the new model is not taken over")
        (place / "xmc.json").write_text("{}")
        problem(server.ask("/reload", b""), 409, "current")
        assert "current" in server.ask("/health/ready").json["not_taken_over"]
        stop.set()
        for thread in threads:
            thread.join()
        assert set(statuses) == {200} and len(statuses) > 20
        assert set(sizes) == {1}, "a request was answered by two models"
        with whole_folder(place) as folder:
            calibrated.save_pretrained(folder)
        assert server.ask("/reload", b"").json == {"taken": ["current"]}
        assert server.ask("/health/ready").json["not_taken_over"] == {}


NAMES = ["texts", "documents", "id", "text", "k", "threshold", "model", "inputs", "raw_scores", "labels"]
KEYS = st.sampled_from(NAMES)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
PATHS = st.sampled_from(["/v1/predict", "/predict", "/v1/explain", "/v1/projects/books/suggest-batch"])


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PATHS, JSON | st.binary(max_size=60))
def test_nothing_that_is_sent_is_a_fault_of_ours(server: Server, path: str, body: object) -> None:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode("utf-8", "surrogatepass")
    assert server.ask(path, sent, Content_Type="application/json").status < 500
