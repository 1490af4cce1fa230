"""The commands of the README and of the pages behind it, in their order: cut short, and as they stand there."""

import gzip
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from harness import Run, write_corpus
from pyarrow import parquet

ROOT = Path(__file__).parents[2]
GUIDES = ["docs/train.md", "docs/predict.md", "docs/retrain.md", "docs/blend.md", "docs/research.md"]
COMMAND = re.compile(r"    ((?:xmc |(?:echo|cat) [^|]*\| xmc ).*)")
NOT_HERE = re.compile(r"xmc (serve|tune) |\$|> |scores\.omikuji")  # without an end, a shell, or another tool's files
PYTHON = re.compile(r"(?:^    .*\n|^\n(?=    ))+", re.MULTILINE)
PAGES = sorted(str(p.relative_to(ROOT)) for folder in ("", "data/", "docs/**/") for p in ROOT.glob(folder + "*.md"))


def commands_of(page: str) -> list[str]:
    found = COMMAND.findall((ROOT / page).read_text())
    return [command for command in found if not NOT_HERE.search(command)]


def cut(words: list[str]) -> list[str]:
    """A command that trains a run, or tries rates, ends after a few steps."""
    if words[0] == "coordinate-check":
        return [*words, "check.steps=1", "check.seeds=[0]"]
    trains = words[0] in ("train", "finetune") and "resume=true" not in words
    return [*words, "trainer.max_steps=20"] if trains else words


def run_all(commands: list[str], xmc: Run, folder: Path, cut: Callable[[list[str]], list[str]]) -> None:
    for line in commands:
        text, _, command = line.rpartition("| ")
        stdin = shlex.split(text)[1] + "\n" if text else ""
        print(command)
        xmc(*cut(shlex.split(command, comments=True)[1:]), cwd=folder, input=stdin)


as_they_stand = pytest.mark.parametrize(
    "cut", [pytest.param(cut, id="cut"), pytest.param(list, id="whole", marks=pytest.mark.slow)]
)


@pytest.fixture
def newcomer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the newcomer's data, whose home and caches are empty."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    write_corpus(tmp_path / "my-data")
    for path in (tmp_path / "my-data").glob("*.jsonl"):
        documents = [json.loads(line) | {"title": "A title"} for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(d) + "\n" for d in documents))
    books = "Bees of the Alps,apidae;alps\nA field guide to bees,apidae\nThe high Alps,alps\n" * 100
    (tmp_path / "my-books").mkdir()
    (tmp_path / "my-books" / "train.csv").write_text("text,labels\n" + books)
    new = [{"title": "A title", "text": f"word1a new{i}", "labels": ["novelty"]} for i in range(10)]
    (tmp_path / "new.jsonl").write_text("".join(json.dumps(document) + "\n" for document in new))
    (tmp_path / "docs.jsonl").write_text('{"id": "a", "text": "word1a word1b"}\n')
    with gzip.open(tmp_path / "more.csv.gz", "wt") as more:
        more.write("id,text\nb,word2a word2b\n")
    parquet.write_table(pa.table({"id": ["c"], "text": ["word3a"]}), tmp_path / "part-1.parquet")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_text("word1a word1b\n")
    return tmp_path


@as_they_stand
def test_the_readme(newcomer: Path, xmc: Run, cut: Callable[[list[str]], list[str]]) -> None:
    commands = commands_of("README.md")
    assert len(commands) > 12
    run_all(commands, xmc, newcomer, cut)
    assert json.loads((newcomer / "pred.jsonl").read_text())["labels"][0]["label"] == "topic1"
    examples = PYTHON.findall((ROOT / "docs/python.md").read_text())
    assert len(examples) == 3
    names: dict[str, object] = {}
    for code in examples:
        exec(re.sub(r"^    ", "", code, flags=re.MULTILINE), names)


@as_they_stand
def test_the_guides(newcomer: Path, xmc: Run, cut: Callable[[list[str]], list[str]]) -> None:
    xmc(*cut(["train", "data=jsonl", "data.root=my-data", "run=runs/mine"]), cwd=newcomer)
    for page in GUIDES:
        commands = commands_of(page)
        assert len(commands) > 1, page
        run_all(commands, xmc, newcomer, cut)
    assert len((newcomer / "scores.txt").read_text().splitlines()) == 2
    assert (newcomer / "suggestions.jsonl").exists() and (newcomer / "pred.parquet").exists()


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", (ROOT / page).read_text()):
        assert (ROOT / page).parent.joinpath(target).exists(), f"{page}: {target}"


def test_no_path_leads_out_of_the_checkout() -> None:
    pages = [ROOT / "README.md", *ROOT.glob("conf/**/*.yaml"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("scripts/**/*")]
    for page in pages:
        if page.is_file() and page.suffix in (".md", ".yaml", ".py", ".sh", ""):
            assert "../shared" not in page.read_text(), page
