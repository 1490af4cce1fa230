"""`xmc report` on finished runs, and its page in a browser."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from harness import Run, small

from xmc.errors import XMCError
from xmc.evaluate import FAMILIES
from xmc.run_report import recorded_metrics

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def browse(page: Path, folder: Path) -> tuple[str, list[str], list[str]]:
    """The page after its script has run, what the console said, and every address that the page asked for."""
    assert CHROMIUM is not None
    log = folder / "net.json"
    done = subprocess.run(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", f"--user-data-dir={folder}"),
            *("--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND", f"--log-net-log={log}"),
            *("--enable-logging=stderr", "--v=0", "--dump-dom", page.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    console = re.findall(r":CONSOLE:\d+\] (.*)", done.stderr)
    events = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    asked = [p["url"] for p in events if "url" in p and p.get("initiator", "not an origin") != "not an origin"]
    return done.stdout, console, asked


@pytest.fixture(scope="module")
def report(trained: Path, tmp_path_factory: pytest.TempPathFactory, xmc: Run) -> Path:
    output = tmp_path_factory.mktemp("report") / "report.html"
    told = xmc("report", f"run={trained}", f"output={output}", "replicates=100")
    assert told.stdout.strip() == str(output)
    return output


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the PATH")
def test_in_a_browser(report: Path, tmp_path: Path) -> None:
    dom, console, asked = browse(report, tmp_path)
    assert (console, asked) == ([], [])
    assert dom.count("<svg") >= 14 and "The topic " in dom
    spoiled = tmp_path / "spoiled.html"
    policy = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
    click = "document.querySelector('th.number button').click(); nothing.there"
    more = f'<img src="http://else.example/x.png"><script>{click}</script></body>'
    spoiled.write_text(policy.sub("", report.read_text()).replace("</body>", more))
    dom, console, asked = browse(spoiled, tmp_path)
    first_column = re.findall(r'<tr><td class="text">[^<]*</td><td class="number" data-value="([\d.]+)"', dom)
    values = list(map(float, first_column[: len(FAMILIES)]))
    assert values == sorted(values, reverse=True) and len(set(values)) > 1
    assert "nothing is not defined" in console[0] and asked == ["http://else.example/x.png"]


def test_same_seed_same_page(report: Path, trained: Path, tmp_path: Path, xmc: Run) -> None:
    again = tmp_path / "again.html"
    xmc("report", f"run={trained}", f"output={again}", "replicates=100")
    assert again.read_bytes() == report.read_bytes()


def test_test_figures_only_where_asked_for(tmp_path: Path) -> None:
    for split in ("dev", "test", "train"):
        (tmp_path / f"metrics-{split}.json").write_text('{"metrics": {"P@1": 1.0}}')
    assert list(recorded_metrics(tmp_path, "dev")) == ["train"]
    assert list(recorded_metrics(tmp_path, "test")) == ["dev", "train"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"metrics": {"P@1": "high"}}', "[" * 100_000], ids=range(5))
def test_metrics_that_are_none_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "metrics-dev.json").write_text(text)
    with pytest.raises(XMCError, match=r"metrics-dev\.json"):
        recorded_metrics(tmp_path, "test")


def test_several_runs_and_parts_that_are_missing(trained: Path, corpus: Path, tmp_path: Path, xmc: Run) -> None:
    run, half = tmp_path / "dense", tmp_path / "half"
    xmc("train", *small(corpus, f"run={run}", "classifier=dense", "trainer.max_steps=12"))
    half.mkdir()
    shutil.copy(run / "config.yaml", half)
    xmc("report", f"runs=[{trained},{run},{half}]", "replicates=50")
    page = (trained / "comparison-dev.html").read_text()
    (trained / "comparison-dev.html").unlink()
    assert "dense \u2212 trained" in page
    for sentence in ("dense: The classifier is dense", "half has no finished model"):
        assert sentence in page


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([], "give run=<folder of xmc train>"),
        (["run=a", "runs=[b]"], "runs=[a,b]"),
        (["runs=[a,a]"], "stands twice"),
        (["run=a", "split=tset"], "split: got 'tset'; did you mean 'test'?"),
        (["run=a", "split=../../x"], "split: got '../../x'; expected one of: dev, test, train"),
    ],
    ids=str,
)
def test_mistakes(xmc: Run, given: list[str], told: str) -> None:
    assert told in xmc("report", *given, check=False).stderr
