"""The README's commands, as they stand there and in their order."""

import json
import re
import shlex
from pathlib import Path

import pytest
from harness import Run, write_corpus

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = [line.strip() for line in README.splitlines() if line.startswith("    ")]
COMMANDS = [line for line in BLOCKS if re.match(r"(xmc (?!serve )|echo .*\| xmc )", line)]  # a server does not end
CODE = r"(?:^    (?:from|model|texts|labels|classifier)\b.*\n(?:\n(?=    ))?)+"
PAGES = sorted(str(p.relative_to(ROOT)) for folder in ("", "data/", "docs/**/") for p in ROOT.glob(folder + "*.md"))
PYTHON = re.findall(CODE, README, flags=re.MULTILINE)


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
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_text("word1a word1b\n")
    return tmp_path


def test_commands_and_python(newcomer: Path, xmc: Run) -> None:
    assert len(COMMANDS) >= 8
    for line in COMMANDS:
        text, _, command = line.rpartition("| ")
        stdin = shlex.split(text)[1] + "\n" if text else ""
        print(command)
        xmc(*shlex.split(command, comments=True)[1:], cwd=newcomer, input=stdin)
    assert json.loads((newcomer / "pred.jsonl").read_text())["labels"][0]["label"] == "topic1"
    assert len(PYTHON) == 2
    for code in PYTHON:
        exec(re.sub(r"^    ", "", code, flags=re.MULTILINE), {})


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", (ROOT / page).read_text()):
        assert (ROOT / page).parent.joinpath(target).exists(), f"{page}: {target}"


def test_no_path_leads_out_of_the_checkout() -> None:
    pages = [ROOT / "README.md", *ROOT.glob("conf/**/*.yaml"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("scripts/**/*")]
    for page in pages:
        if page.is_file() and page.suffix in (".md", ".yaml", ".py", ".sh", ""):
            assert "../shared" not in page.read_text(), page
