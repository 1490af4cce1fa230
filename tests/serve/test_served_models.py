"""Models found in a folder, and taken over anew."""

import shutil
from pathlib import Path

import pytest
from served import make_model

from xmc.errors import XMCError
from xmc.model import Blend, XMCModel
from xmc.model.blend import Member, ScoreFiles
from xmc.serve.models import Models, Suggest, UnknownModel
from xmc.storage import whole_folder


def loaded(root: Path) -> Models:
    models = Models(root, "cpu")
    models.load()
    return models


def names(models: Models) -> list[str]:
    return [served.name for served in models]


def test_a_run_a_model_and_a_folder_of_several(tmp_path: Path, model_folder: Path) -> None:
    shutil.copytree(model_folder, tmp_path / "runs" / "mine" / "model")
    shutil.copytree(model_folder, tmp_path / "runs" / "other")
    (tmp_path / "runs" / "current").symlink_to("mine")
    (tmp_path / "runs" / ".hidden").symlink_to("mine")
    (tmp_path / "runs" / "notes").mkdir()
    assert names(loaded(tmp_path / "runs" / "mine")) == ["mine"]
    assert names(loaded(tmp_path / "runs" / "mine" / "model")) == ["mine"]
    assert names(loaded(tmp_path / "runs" / "current")) == ["current"]
    models = loaded(tmp_path / "runs")
    assert names(models) == ["current", "mine", "other"]
    assert models.get("mine").name == "mine"
    for wrong in (None, "theirs"):
        with pytest.raises(UnknownModel, match="current, mine, other"):
            models.get(wrong)


@pytest.mark.parametrize("folder", ["missing", "."])
def test_a_folder_without_a_model_is_told(tmp_path: Path, folder: str) -> None:
    with pytest.raises(XMCError, match="holds no model"):
        loaded(tmp_path / folder)


def test_a_blend_is_served_and_one_of_files_refused(tmp_path: Path, calibrated: XMCModel) -> None:
    members = [Member("one", 0.5, calibrated), Member("two", 0.5, make_model())]
    Blend(members, calibrated.label_ids, calibrated.label_names).save_pretrained(tmp_path / "blend")
    served = loaded(tmp_path / "blend").get(None)
    assert served.kind == "blend" and served.together and served.threshold is None
    members[1] = Member("scores", 0.5, ScoreFiles({"dev": "dev.txt"}))
    Blend(members, calibrated.label_ids, calibrated.label_names).save_pretrained(tmp_path / "files")
    with pytest.raises(XMCError, match="knows no new text"):
        loaded(tmp_path / "files")


def test_a_new_model_is_taken_over_and_a_broken_one_is_not(tmp_path: Path, model_folder: Path) -> None:
    place = tmp_path / "current"
    shutil.copytree(model_folder, place)
    models = loaded(place)
    first = models.get(None)
    assert models.reload(changed_only=True) == [] and models.get(None) is first
    with whole_folder(place) as folder:
        make_model(labels=9).save_pretrained(folder)
    assert models.reload(changed_only=True) == ["current"]
    second = models.get(None)
    assert len(second.model.label_ids) == 9 and len(first.model.label_ids) == 40
    names = (place / "labels.jsonl").read_text()
    (place / "labels.jsonl").write_text(names.replace("Label", "Title"))
    assert models.reload(changed_only=True) == []
    assert models.get(None) is second and "is not what was saved" in models.failures["current"]
    shutil.rmtree(place)
    assert models.reload(changed_only=True) == [] and models.get(None) is second
    shutil.copytree(model_folder, place)
    assert models.reload(changed_only=True) == ["current"] and not models.failures


def test_a_link_that_leads_elsewhere_is_a_new_model(tmp_path: Path, model_folder: Path) -> None:
    shutil.copytree(model_folder, tmp_path / "first")
    make_model(labels=9).save_pretrained(tmp_path / "second")
    (tmp_path / "current").symlink_to("first")
    models = loaded(tmp_path / "current")
    (tmp_path / "next").symlink_to("second")
    (tmp_path / "next").rename(tmp_path / "current")
    assert models.reload(changed_only=True) == ["current"]
    assert len(models.get(None).model.label_ids) == 9


def test_what_comes_later_is_served_too(tmp_path: Path, model_folder: Path) -> None:
    shutil.copytree(model_folder, tmp_path / "a")
    models = loaded(tmp_path)
    shutil.copytree(model_folder, tmp_path / "b")
    assert models.reload(changed_only=True) == ["b"] and names(models) == ["a", "b"]


def test_suggestions_are_those_of_the_model(model_folder: Path, calibrated: XMCModel) -> None:
    served = loaded(model_folder).get(None)
    texts = ["open the cat", "file"]
    assert Suggest(served, 4, None)(texts) == calibrated.predict(texts, 4)
    assert Suggest(served, None, "auto")(texts) == calibrated.predict(texts, threshold="auto")
    assert Suggest(served, 4, None) == Suggest(served, 4, None) != Suggest(served, 5, None)
