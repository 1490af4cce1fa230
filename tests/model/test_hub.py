"""What would be sent to the Hub, and that a model comes back from it; no request is made."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import RepoUrl
from huggingface_hub.errors import OfflineModeIsEnabled
from test_model import TEXTS, make_model

from xmc.errors import XMCError
from xmc.model import XMCModel
from xmc.model.calibration import Calibration


class Hub:
    """Keeps what is uploaded, as the Hub would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls: list[dict[str, Any]] = []

    def __call__(self, token: str | None) -> "Hub":
        self.calls.append({"token": token})
        return self

    def create_repo(self, repo_id: str, **arguments: Any) -> RepoUrl:
        self.calls.append({"repo_id": repo_id, **arguments})
        return RepoUrl(f"https://huggingface.co/{repo_id}")

    def upload_folder(self, *, folder_path: str, **arguments: Any) -> None:
        shutil.copytree(folder_path, self.folder)
        self.calls.append(arguments)

    def download(self, repo_id: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        self.calls.append({"repo_id": repo_id, "revision": revision})
        copy = self.folder.with_name("copy")
        for pattern in allow_patterns:
            for path in self.folder.rglob(pattern):
                target = copy / path.relative_to(self.folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)
        return str(copy)


@pytest.fixture
def loopback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    fake = Hub(tmp_path / "repository")
    monkeypatch.setattr("huggingface_hub.HfApi", fake)
    monkeypatch.setattr("huggingface_hub.snapshot_download", fake.download)
    return fake


def test_there_and_back(loopback: Hub) -> None:
    model = make_model()
    model.calibration = Calibration(0.5, 0.1, 5, 0.25)
    address = model.push_to_hub("owner/model", private=True, token="secret")
    assert address == "https://huggingface.co/owner/model"
    assert loopback.calls == [
        {"token": "secret"},
        {"repo_id": "owner/model", "private": True, "exist_ok": True},
        {"repo_id": "owner/model", "commit_message": "Upload an xmc model"},
    ]
    assert XMCModel.from_pretrained("owner/model", revision="v1").predict(TEXTS) == model.predict(TEXTS)
    assert loopback.calls[-1] == {"repo_id": "owner/model", "revision": "v1"}


def test_the_page(loopback: Hub) -> None:
    make_model().push_to_hub("owner/model")
    page = (loopback.folder / "README.md").read_text()
    _, front, body = page.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "library_name": "xmc",
        "pipeline_tag": "text-classification",
        "tags": ["multi-label-classification", "extreme-multi-label-classification", "sparse"],
    }
    assert body.startswith("# model\n")
    assert "| labels | 7 |" in body and "| threshold" not in body
    assert 'XMCModel.from_pretrained("owner/model")' in body


def test_a_folder_goes_before_a_repository(loopback: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_model().save_pretrained("owner/model")
    XMCModel.from_pretrained("owner/model")
    assert not loopback.calls


def test_neither_folder_nor_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*arguments: object, **named: object) -> str:
        raise OfflineModeIsEnabled("offline")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(XMCError, match=r"owner/model is no folder here.*offline; give the folder of a model"):
        XMCModel.from_pretrained("owner/model")
    with pytest.raises(XMCError, match="is no saved model"):
        XMCModel.from_pretrained("/no/such/folder")
