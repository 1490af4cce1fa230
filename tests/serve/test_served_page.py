"""The page in Chromium."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from browser import Browser, browser, missing
from served import Server, running, with_rules

from xmc.model import XMCModel

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(missing()), reason=f"needs {' and '.join(missing())}: apt-get install chromium chromium-driver"
    ),
]
LABELS = "document.querySelectorAll('#labels li').length"


@dataclass
class Reasons:
    """What `XMCModel.explain` gives, made up: each word by its place, every second one against the label."""

    label: str
    score: float
    base: float
    terms: list[SimpleNamespace]


def made_up(self: XMCModel, text: str, labels: Sequence[str]) -> list[Reasons]:
    terms, start = [], 0
    for place, word in enumerate(text.split()):
        start = text.index(word, start)
        weight = (1 if place % 2 == 0 else -1) * (1 + place)
        terms.append(SimpleNamespace(start=start, end=start + len(word), text=word, weight=weight))
        start += len(word)
    return [Reasons(label, 1.0, 0.0, terms) for label in labels]


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as one:
        yield one


@pytest.fixture
def page(window: Browser, server: Server, monkeypatch: pytest.MonkeyPatch) -> Browser:
    monkeypatch.setattr(XMCModel, "explain", made_up, raising=False)
    window.size(1200, 800)
    window.open(f"http://127.0.0.1:{server.port}/")
    window.wait("document.querySelector('#about').textContent")
    return window


def write(page: Browser, text: str) -> None:
    page.run("const box = document.querySelector('#text'); box.value = ''; box.focus()")
    page.type(text)
    page.wait(LABELS)


def labels(page: Browser) -> list[str]:
    return texts_of(page, "#labels .name")


def texts_of(page: Browser, query: str) -> list[str]:
    found: list[str] = page.run(f"return [...document.querySelectorAll('{query}')].map((one) => one.textContent)")
    return found


def test_suggestions_as_one_types(page: Browser, calibrated: XMCModel) -> None:
    write(page, "open the cat")
    expected = calibrated.predict(["open the cat"], 10, threshold="auto")[0]
    page.wait(f"{LABELS} === {len(expected)}")
    assert labels(page) == [p.name for p in expected]
    widths = page.run("return [...document.querySelectorAll('#labels .bar')].map((bar) => parseFloat(bar.style.width))")
    assert widths == pytest.approx([100 * p.score for p in expected], abs=0.6)
    assert page.run("return document.querySelector('#labels .id').textContent") == expected[0].label
    assert "label" in page.run("return document.querySelector('#status').textContent")
    assert not page.log()


def test_threshold_and_k(page: Browser, calibrated: XMCModel) -> None:
    write(page, "open the cat")
    assert (
        page.run("return document.querySelector('#auto').checked && document.querySelector('#threshold').value")
        == "0.6"
    )
    page.run("const t = document.querySelector('#threshold'); t.value = 0; t.dispatchEvent(new Event('input'))")
    page.wait(f"{LABELS} === 10")
    page.run("const k = document.querySelector('#k'); k.value = 4; k.dispatchEvent(new Event('input'))")
    page.wait(f"{LABELS} === 4")
    scores = [p.score for p in calibrated.predict(["open the cat"], 4)[0]]
    page.run(
        "const t = document.querySelector('#threshold'); t.step = 'any'; t.value = arguments[0]; "
        "t.dispatchEvent(new Event('input'))",
        (scores[1] + scores[2]) / 2,
    )
    page.wait(f"{LABELS} === 2")
    assert "2 below the threshold" in page.run("return document.querySelector('#status').textContent")
    page.run("document.querySelector('#auto').click()")
    page.wait("document.querySelector('#threshold').value === '0.6'")


def test_why(page: Browser) -> None:
    page.run("const t = document.querySelector('#threshold'); t.value = 0; t.dispatchEvent(new Event('input'))")
    text = "the \U0001f408 cat ran home"
    write(page, text)
    page.run("document.querySelector('#labels button').focus()")
    page.type("\ue007")  # Enter
    page.wait("!document.querySelector('#reasons').hidden")
    marks = page.run("return [...document.querySelectorAll('#marked mark')].map((m) => [m.className, m.textContent])")
    assert marks == [["for", "the"], ["against", "\U0001f408"], ["for", "cat"], ["against", "ran"], ["for", "home"]]
    assert page.run("return document.querySelector('#marked').textContent") == text
    assert page.run("return document.querySelector('#for li').textContent") == "home+5.00"
    assert page.run("return document.querySelector('#against li').textContent") == "ran\N{MINUS SIGN}4.00"
    assert page.run("return document.querySelector('#labels button').getAttribute('aria-pressed')") == "true"
    page.type("\ue00c")  # Escape
    page.wait("document.querySelector('#reasons').hidden")
    assert page.run("return document.activeElement === document.querySelector('#labels button')")
    assert not page.log()


def test_files(page: Browser) -> None:
    page.run(
        """
        const files = new DataTransfer();
        files.items.add(new File(["open the file"], "one.txt"));
        files.items.add(new File(["id,text\\r\\nA,\\"the cat, \\"\\"sat\\"\\"\\nthere\\"\\nB,a dog"], "two.csv"));
        files.items.add(new File(['{"id": "x", "title": "T", "text": "file"}\\n'], "three.jsonl"));
        document.dispatchEvent(new DragEvent("drop", { dataTransfer: files, bubbles: true, cancelable: true }));
        """
    )
    page.wait("document.querySelectorAll('#rows tr').length === 4 && document.querySelector('#stop').hidden")
    assert texts_of(page, "#rows button") == ["one.txt", "A", "B", "x"]
    page.run("document.querySelectorAll('#rows button')[1].click()")
    assert page.run("return document.querySelector('#text').value") == 'the cat, "sat"\nthere'
    assert "4 of 4" in page.run("return document.querySelector('#done').textContent")


def test_what_is_copied(page: Browser) -> None:
    page.devtools("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    page.run("const t = document.querySelector('#threshold'); t.value = 0; t.dispatchEvent(new Event('input'))")
    write(page, "open the cat")
    page.run("document.querySelector('#copy-json').click()")
    page.wait("document.querySelector('#copied').textContent")
    copied = json.loads(page.run("return await navigator.clipboard.readText()"))
    assert [label["name"] for label in copied] == labels(page)
    page.run("document.querySelector('#copy-lines').click()")
    page.wait("(await navigator.clipboard.readText()).includes('\\t')")
    lines = page.run("return await navigator.clipboard.readText()").splitlines()
    assert [line.split("\t")[1] for line in lines] == labels(page)


@pytest.mark.parametrize("width", [1200, 360])
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits(page: Browser, width: int, dark: bool) -> None:
    """And can be read: contrast of 4.5 to 1 and more (WCAG 2.2, 1.4.3)."""
    page.size(width, 800)
    page.dark(dark)
    write(page, "open the cat")
    assert page.run("return document.documentElement.scrollWidth") <= width
    contrast = """
        const light = (color) => {
          const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3).map((c) => c / 255)
            .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
          return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const style = (query) => getComputedStyle(document.querySelector(query));
        const bar = "#labels .bar";
        const pairs = [["body", "body"], ["#status", "body"], ["#labels .id", bar], ["#labels .name", bar]];
        return pairs.map(([ink, paper]) => {
          const two = [light(style(ink).color), light(style(paper).backgroundColor)].sort();
          return (two[1] + 0.05) / (two[0] + 0.05);
        });
    """
    assert min(page.run(contrast)) >= 4.5
    page.dark(False)


def test_every_field_has_a_name(page: Browser) -> None:
    write(page, "open the cat")
    tree = page.devtools("Accessibility.getFullAXTree")["nodes"]
    roles = ("textbox", "button", "slider", "spinbutton", "combobox", "checkbox", "link", "region")
    for node in tree:
        if not node.get("ignored") and node.get("role", {}).get("value") in roles:
            assert node.get("name", {}).get("value"), node
    assert page.run("return document.querySelector('#status').getAttribute('aria-live')") == "polite"


def test_nothing_is_loaded_from_elsewhere(page: Browser, server: Server) -> None:
    write(page, "open the cat")
    for path in ("/", "/docs"):
        page.open(f"http://127.0.0.1:{server.port}{path}")
        page.wait("document.readyState === 'complete'")
        page.wait("document.querySelector('h3, #about:not(:empty)')")
        loaded = page.run("return performance.getEntriesByType('resource').map((entry) => entry.name)")
        assert loaded and all(url.startswith(f"http://127.0.0.1:{server.port}/") for url in loaded)
        assert not page.log()


def test_the_token_is_asked_for(window: Browser, model_folder: Path) -> None:
    with running(model_folder, rules=with_rules(token="a-token-of-some-length")) as server:
        window.open(f"http://127.0.0.1:{server.port}/")
        window.wait("!document.querySelector('#enter').hidden")
        window.run("document.querySelector('#token').focus()")
        window.type("a-token-of-some-length\ue007")
        window.wait("document.querySelector('#about').textContent")
        window.log()
        write(window, "open the cat")
