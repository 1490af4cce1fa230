"""The Dockerfile without Docker: the context has what is copied, the commands run, and what they make is healthy."""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INSTRUCTIONS = [
    (name, re.sub(r"\\\n\s*", "", rest))
    for name, rest in re.findall(
        r"^([A-Z]+) ((?:.*\\\n)*.*)$", re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.M), re.M
    )
]
NOT_OURS = ("apt-get", "useradd", "rm")  # commands that change the machine


def of(name: str) -> list[str]:
    return [rest for told, rest in INSTRUCTIONS if told == name]


def copied() -> list[tuple[list[str], str]]:
    """Sources in the context, and where they go."""
    return [(parts[:-1], parts[-1]) for parts in map(shlex.split, of("COPY")) if not parts[0].startswith("--from")]


def test_the_context_has_what_is_copied() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert ignored[0] == "*"
    allowed = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    sources = {source for sources, _ in copied() for source in sources}
    assert sources == allowed
    assert all((ROOT / source).exists() for source in sources)


def test_it_is_served_by_a_user_without_rights() -> None:
    names = [name for name, _ in INSTRUCTIONS]
    assert "USER" in names and not {"COPY", "RUN"} & {*names[names.index("USER") :]}
    assert f"--uid {of('USER')[0]} xmc" in of("RUN")[-1]
    assert json.loads(of("ENTRYPOINT")[0]) + json.loads(of("CMD")[0]) == ["xmc", "serve", "run=/models", "host=0.0.0.0"]


@pytest.mark.slow
def test_its_commands_run_and_what_they_make_is_healthy(trained: Path, tmp_path: Path) -> None:
    context, place, commands = tmp_path / "src", tmp_path / "opt", tmp_path / "commands"
    for sources, target in copied():
        for source in sources:
            whole = ROOT / source
            (context / target).mkdir(parents=True, exist_ok=True)
            if whole.is_dir():
                shutil.copytree(whole, context / target, dirs_exist_ok=True)
            else:
                shutil.copy(whole, context / target)
    commands.mkdir()
    scripts = {name: f'echo {name} "$@" >> {tmp_path}/asked' for name in NOT_OURS}
    for name, script in {**scripts, "python3": f'exec {sys.executable} "$@"'}.items():
        (commands / name).write_text(f"#!/bin/sh\n{script}\n")
        (commands / name).chmod(0o755)
    told = {"PATH": f"{commands}:{os.environ['PATH']}", "TORCH": tmp_path.as_uri(), "PACKAGES": "gcc"}
    for command in of("RUN"):
        subprocess.run(
            ["sh", "-ec", command.replace("/opt/xmc", str(place))], cwd=context, env={**os.environ, **told}, check=True
        )
    assert "apt-get install --yes --no-install-recommends python3-venv gcc" in (tmp_path / "asked").read_text()

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {"PATH": f"{place / 'bin'}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    (_, health) = of("HEALTHCHECK")[0].split("CMD ")
    probe = json.loads(health.replace("8000", str(port)))
    start = [*json.loads(of("ENTRYPOINT")[0]), *json.loads(of("CMD")[0])]
    served = [part.replace("/models", str(trained)) for part in [*start, f"port={port}", "threads=1"]]

    def healthy() -> bool:
        return subprocess.run(probe, env=environment, cwd=tmp_path, capture_output=True).returncode == 0

    with subprocess.Popen(served, env=environment, cwd=tmp_path) as server:
        try:
            until = time.monotonic() + 300
            while not healthy():
                assert server.poll() is None and time.monotonic() < until
                time.sleep(1)
        finally:
            server.kill()
    assert not healthy()
