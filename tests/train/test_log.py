import json
import logging
from pathlib import Path

import pytest

from xmc.train.log import LocalLog, read_log


@pytest.mark.parametrize(
    "line",
    [
        b"hello\n",
        b"[1]\n",
        b'{"loss": 1}\n',
        b'{"step": "x", "loss": 1}\n',
        b'{"step": 1, "loss": "low"}\n',
        b'{"step": 1, "loss": NaN}\n',
        b'{"step": 1, "loss": ' + b"1" * 400 + b"}\n",
        b'{"step": ' + b"1" * 5000 + b"}\n",
        b"[" * 100_000 + b"\n",
        b"\xff\xfe\n",
    ],
    ids=range(10),
)
def test_lines_that_are_no_records_are_passed_over(
    tmp_path: Path, line: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "log.jsonl"
    whole = b'{"step": 1, "loss": 0.5, "auxiliary_loss": null}\n'
    path.write_bytes(whole + line + b'{"step": 2, "loss": 0.25}\n{"step": 3, "lo')
    with caplog.at_level(logging.WARNING):
        assert [record["step"] for record in read_log(path)] == [1, 2]
    assert f"{path}: passed over 1 of 4 lines; the first: {path}:2: " in caplog.text
    LocalLog(path, resume_step=1).close()
    assert path.read_bytes() == whole


def test_a_log_goes_on_behind_the_step_it_resumes_from(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    for resumed, steps in ((0, (1, 2, 3)), (2, (3, 4))):
        log = LocalLog(path, resume_step=resumed)
        for step in steps:
            log.log({"step": step, "loss": float("inf")})
        log.close()
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"step": step, "loss": None} for step in (1, 2, 3, 4)
    ]
