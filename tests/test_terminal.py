import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tqdm import tqdm

from xmc.terminal import encode_everything, escaped, guard, guarded, without_passwords

ATTACKS = {
    "\x1b[2J": r"\u001b[2J",
    "\x9b31m": r"\u009b31m",
    "a\rb": r"a\u000db",
    "\x07\x08\x7f\x00": r"\u0007\u0008\u007f\u0000",
    "\u202eevil\u2066": r"\u202eevil\u2066",
    "\u2028": r"\u2028",
}


@pytest.mark.parametrize("text, told", ATTACKS.items(), ids=ATTACKS.values())
def test_what_steers_a_terminal_is_escaped(text: str, told: str) -> None:
    assert escaped(text) == told


def test_text_is_left_as_it_is() -> None:
    text = "Bücher\tund\nnächste Zeile, עברית, 日本語, 👩\u200d🔬 \\x1b"
    assert escaped(text) == text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("https://me:secret@host/set.zip: HTTP 404", "https://me:***@host/set.zip: HTTP 404"),
        ("url='ftp://me:p:a@s@host/x' and https://you:too@b", "url='ftp://me:***@host/x' and https://you:***@b"),
        ("https://:secret@host", "https://:***@host"),
        ("https://host:80/a@b see https://host/x?y=1:2@3", "https://host:80/a@b see https://host/x?y=1:2@3"),
    ],
)
def test_passwords_are_left_out(text: str, told: str) -> None:
    assert without_passwords(text) == told


def on_a_terminal(text: str, bars: bool) -> str:
    """What arrives there."""
    master, slave = os.openpty()
    kept = os.dup(slave)  # what nobody has open any more forgets
    with open(slave, "w", encoding="utf-8", newline="") as terminal:
        stream = guarded(terminal, bars=bars)
        print(text, file=stream)
        if bars:
            with tqdm(total=1, desc="\x1b[2J", file=stream) as bar, tqdm(total=1, file=stream):
                bar.update()
        print("end", file=stream)
        assert isinstance(stream, io.TextIOWrapper)
        stream.detach()
    arrived = b""
    while not arrived.endswith(b"end\r\n"):
        arrived += os.read(master, 65536)
    os.close(kept)
    os.close(master)
    return arrived.decode().removesuffix("end\r\n")


def test_tables_and_predictions_on_a_terminal() -> None:
    assert on_a_terminal("\x1b]0;title\x07 ü", bars=False) == "\\u001b]0;title\\u0007 ü\r\n"
    assert on_a_terminal("\rover", bars=False) == "\\u000dover\r\n"


def test_bars_on_a_terminal() -> None:
    arrived = on_a_terminal("plain", bars=True)
    assert arrived.startswith("plain\r\n\r\\u001b[2J:   0%")
    assert "\x1b[A" in arrived and "\x1b[2J" not in arrived


def test_only_terminals_are_guarded(monkeypatch: pytest.MonkeyPatch) -> None:
    master, slave = os.openpty()
    with open(slave, "w") as terminal, open(os.devnull, "w") as file:
        monkeypatch.setattr(sys, "stdout", terminal)
        monkeypatch.setattr(sys, "stderr", file)
        guard()
        assert sys.stdout is not terminal and sys.stderr is file
        print("\x1b[2J")
        assert os.read(master, 100) == b"\\u001b[2J\r\n"
        sys.stdout.detach()  # type: ignore[attr-defined]
    os.close(master)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams(closed: str, tmp_path: Path) -> None:
    """What is opened later never takes their place."""
    told = tmp_path / "told"
    code = (
        "import os, sys; from xmc.terminal import encode_everything, guard, open_standard_streams as first; first();"
        "encode_everything(); guard(); print('out'); print('error', file=sys.stderr);"
        f"file = open({str(told)!r}, 'w'); file.write(f'{{file.fileno() > 2}} {{sys.stdin is None}}')"
    )
    shell = ["sh", "-c", f'"$0" -c "$1" {closed}', sys.executable, code]
    done = subprocess.run(shell, capture_output=True, text=True)
    assert (done.returncode, told.read_text()) == (0, f"True {'<&-' in closed}")
    assert done.stdout == ("" if " >&-" in f" {closed}" else "out\n")
    assert done.stderr == ("" if "2>&-" in closed else "error\n")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_what_an_encoding_lacks_is_json_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, encoding: str
) -> None:
    """Told once, and read back as it was."""
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding))
    encode_everything()
    texts = ["Zürich", "日本語", "\N{GRINNING FACE}", "\udcff"]
    print(json.dumps(texts, ensure_ascii=False), flush=True)
    assert json.loads(written.getvalue().decode(encoding)) == texts
    assert [record.message for record in caplog.records] == [
        f"standard output is {encoding} and lacks characters: they become \\u....; PYTHONIOENCODING=utf-8 keeps them"
    ]
