"""A benchmark set from the web, in its real layout: prepared, trained on, refused where it is another one."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness import Run, small
from test_bad_input import fails
from test_formats import pecos, repository
from web import Site, serving, tar_gz, zipped

COUNTS = {"train": 400, "test": 60, "labels": 12}


@dataclass
class Published:
    site: Site
    data: list[str]


def eurlex57k(corpus: Path, folder: Path) -> None:
    """Legal acts in parts, one of them a list."""
    for split in ("train", "dev", "test"):
        with open(folder / f"{split}.jsonl", "w") as out:
            for record in map(json.loads, (corpus / f"{split}.jsonl").read_text().splitlines()):
                words = record["text"].split()
                act = {"title": words[0], "header": "", "recitals": words[1], "main_body": words[2:]}
                act |= {"celex_id": record["id"], "eurovoc_concepts": record["labels"]}
                out.write(json.dumps(act) + "\n")


WRITERS: dict[str, Callable[[Path, Path], None]] = {
    "eurlex-4k": pecos,
    "lf-amazontitles-1.3m": repository,
    "eurlex57k": eurlex57k,
}


@pytest.fixture(params=WRITERS)
def published(
    request: pytest.FixtureRequest, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Published]:
    """The small corpus as an archive on the web, and the overrides that say that it is this set."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    source = tmp_path / "source"
    source.mkdir()
    write = WRITERS[request.param]
    write(corpus, source)
    files = {f"published/{path.name}": path.read_bytes() for path in source.iterdir()}
    name, archive = ("set.tar.gz", tar_gz(files)) if write is pecos else ("set.zip", zipped(files))
    with serving({name: archive}) as site:
        counts = [f"data.benchmark.{part}={count}" for part, count in COUNTS.items()]
        folders = [f"data.root={tmp_path / 'set'}", f"data.cache_dir={tmp_path / 'cache'}"]
        yield Published(site, [f"data={request.param}", *folders, f"data.benchmark.url='{site.url(name)}'", *counts])


def test_prepare_and_train(published: Published, corpus: Path, tmp_path: Path, xmc: Run) -> None:
    told = xmc("prepare", *published.data).stdout
    counted = dict(line.replace(";", "").split()[:2] for line in told.splitlines()[:-2])
    assert counted.pop("dev", "60") == "60" and counted == {"train": "400", "test": "60", "labels": "12"}
    assert "as published; licence: " in told
    assert len(published.site.asked) == 1
    published.site.files.clear()
    assert xmc("prepare", *published.data).stdout == told
    xmc("train", *small(corpus, f"run={tmp_path / 'run'}", "trainer.max_steps=3", "lexical=none", *published.data))
    assert "60 documents" in xmc("evaluate", f"run={tmp_path / 'run'}").stdout


@pytest.mark.parametrize("published", ["eurlex-4k"], indirect=True)
@pytest.mark.parametrize(
    ("count", "told"),
    [
        ("train=410", "train has 400 documents, expected 410 (-10)"),
        ("test=50", "test has 60 documents, expected 50 (+10)"),
        ("labels=1012", "the vocabulary has 12 labels, expected 1,012 (-1,000)"),
    ],
)
def test_other_counts(published: Published, corpus: Path, tmp_path: Path, xmc: Run, count: str, told: str) -> None:
    wrong = [*published.data, f"data.benchmark.{count}"]
    error = fails(xmc, "prepare", *wrong)
    assert f"{tmp_path / 'set'} is not eurlex-4k as published: {told}. Delete" in error
    run = [f"run={tmp_path / 'run'}", "trainer.max_steps=1"]
    assert told in fails(xmc, "train", *small(corpus, *run, *wrong))


@pytest.mark.parametrize("published", ["eurlex-4k"], indirect=True)
def test_a_set_that_is_no_published_one(published: Published, corpus: Path, tmp_path: Path, xmc: Run) -> None:
    xmc("prepare", *published.data)
    other = [*published.data, "data.benchmark.train=410", "data.benchmark=null"]
    xmc("train", *small(corpus, f"run={tmp_path / 'run'}", "trainer.max_steps=1", "lexical=none", *other))


@pytest.mark.parametrize("published", ["eurlex-4k"], indirect=True)
def test_a_set_that_is_not_there_yet(published: Published, xmc: Run) -> None:
    error = fails(xmc, "train", *published.data)
    assert "lacks X.trn.txt, Y.trn.npz, X.tst.txt, Y.tst.npz of eurlex-4k; get them with `xmc prepare" in error
    published.site.files.clear()
    assert "set.tar.gz: HTTP 404" in fails(xmc, "prepare", *published.data)


@pytest.mark.parametrize("published", ["eurlex-4k"], indirect=True)
def test_interrupted(published: Published, xmc: Run) -> None:
    def stop(self: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tqdm.tqdm.__enter__", stop)
        done = xmc("prepare", *published.data, check=False)
    assert (done.returncode, done.stderr) == (130, "interrupted; give the command again\n")
    xmc("prepare", *published.data)


def test_the_users_own_data(corpus: Path, tmp_path: Path, xmc: Run) -> None:
    done = xmc("prepare", "data=jsonl", f"data.root={corpus}", f"data.cache_dir={tmp_path}")
    *counted, first = done.stdout.splitlines()
    assert [line.split()[1].rstrip(";") for line in counted] == ["400", "60", "60", "12"]
    assert first.startswith("the first is ")
