import json
import logging
from pathlib import Path

import pytest

from xmc.ops.fan_in.impl.tuning import Configuration, DoesNotFit, Tuner

OPTIONS = [Configuration("narrow", 2, 4), Configuration("wide", 8, 4)]


def never(_: Configuration) -> float:
    raise AssertionError("measured again")


def times(configuration: Configuration) -> float:
    return {"narrow": 3.0, "wide": 2.0}[configuration.name]


def test_the_fastest_is_taken_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert Tuner(tmp_path / "t.json").choose("step", OPTIONS, times).name == "wide"
    assert "tuned step, once on this machine: wide (narrow 3.00 ms, wide 2.00 ms)" in caplog.text


def test_the_choice_is_remembered_in_this_run_and_the_next(tmp_path: Path) -> None:
    tuner = Tuner(tmp_path / "deep" / "t.json")
    tuner.choose("step", OPTIONS, times)
    assert tuner.choose("step", OPTIONS, never).name == "wide"
    later = Tuner(tmp_path / "deep" / "t.json")
    assert later.choose("step", OPTIONS, never).name == "wide"
    assert later.choose("topk", OPTIONS, lambda c: -times(c)).name == "narrow"
    assert json.loads((tmp_path / "deep" / "t.json").read_text()) == {"step": "wide", "topk": "narrow"}


@pytest.mark.parametrize("content", ["{", "[1]", "[" * 20_000, '{"step": "gone"}', '{"step": ["wide"]}'])
def test_a_file_that_does_not_help_is_replaced(tmp_path: Path, content: str) -> None:
    path = tmp_path / "t.json"
    path.write_text(content)
    assert Tuner(path).choose("step", OPTIONS, times).name == "wide"
    assert json.loads(path.read_text())["step"] == "wide"


def test_where_nothing_can_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    tuner = Tuner(tmp_path / "file" / "t.json")
    assert tuner.choose("step", OPTIONS, times).name == "wide"
    assert "cannot be written" in caplog.text


def test_what_others_could_have_written_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    folder.chmod(0o777)
    (folder / "t.json").write_text('{"step": "narrow"}')
    assert Tuner(folder / "t.json").choose("step", OPTIONS, times).name == "wide"
    assert "theirs may be written by others (mode 777)" in caplog.text
    assert (folder / "t.json").read_text() == '{"step": "narrow"}'


def test_without_a_home_each_process_measures() -> None:
    assert Tuner(None).choose("step", OPTIONS, times).name == "wide"


def test_what_does_not_fit_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    def fits_where_narrow(configuration: Configuration) -> float:
        if configuration.name == "wide":
            raise DoesNotFit("131072 bytes of shared memory, there are 101376")
        return 3.0

    def never_fits(_: Configuration) -> float:
        raise DoesNotFit("too large")

    caplog.set_level(logging.INFO)
    assert Tuner(None).choose("step", OPTIONS, fits_where_narrow).name == "narrow"
    assert "narrow (narrow 3.00 ms; not wide: 131072 bytes of shared memory, there are 101376)" in caplog.text
    with pytest.raises(DoesNotFit, match=r"nothing for step fits this GPU .narrow: too large; wide: too large.; take"):
        Tuner(None).choose("step", OPTIONS, never_fits)


def test_what_a_run_began_with_is_kept_whatever_the_machine_remembers(tmp_path: Path) -> None:
    tuner = Tuner(tmp_path / "t.json")
    tuner.choose("step", OPTIONS, times)
    assert tuner.used == {"step": "wide"}
    elsewhere = Tuner(tmp_path / "t.json")
    elsewhere.kept = {"step": "narrow", "topk": "gone"}
    assert elsewhere.choose("step", OPTIONS, never).name == "narrow"
    assert elsewhere.choose("topk", OPTIONS, times).name == "wide"
    assert elsewhere.used == {"step": "narrow", "topk": "wide"}
    assert json.loads((tmp_path / "t.json").read_text()) == {"step": "wide", "topk": "wide"}
