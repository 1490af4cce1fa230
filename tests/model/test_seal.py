"""A saved model of which a single bit differs is not loaded."""

import json
import random
import shutil
from pathlib import Path

import pytest
from test_model import TEXTS, make_model

from xmc.errors import XMCError
from xmc.model import XMCModel
from xmc.model.calibration import Calibration


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sealed") / "model"
    make_model().save_pretrained(folder)
    return folder


def test_any_flipped_bit_of_any_file_is_refused(saved: Path, tmp_path: Path) -> None:
    rng = random.Random(0)
    folder = tmp_path / "model"
    shutil.copytree(saved, folder)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            for _ in range(3):
                bit = rng.randrange(8 * len(content))
                flipped = bytearray(content)
                flipped[bit // 8] ^= 1 << bit % 8
                path.write_bytes(flipped)
                with pytest.raises(XMCError) as refused:
                    XMCModel.from_pretrained(folder)
                assert "\n" not in str(refused.value), (path, bit)
            path.write_bytes(content)
    XMCModel.from_pretrained(folder)


def test_files_of_others_are_none_of_its_business(saved: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(saved, folder)
    (folder / "README.md").write_text("a page")
    XMCModel.from_pretrained(folder)
    (folder / "labels.jsonl").unlink()
    with pytest.raises(XMCError, match=r"labels.jsonl is missing; copy the model again"):
        XMCModel.from_pretrained(folder)


def test_parts_that_nothing_else_misses(saved: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(saved, folder)
    (folder / "encoder" / "tokenizer_config.json").unlink()
    with pytest.raises(XMCError, match=r"is not whole: encoder/tokenizer_config.json is missing"):
        XMCModel.from_pretrained(folder)


def test_a_new_card_seals_anew(saved: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(saved, folder)
    model = XMCModel.from_pretrained(folder)
    model.calibration = Calibration(scale=2.0, shift=0.0, k=3, threshold=0.5)
    model.save_card(folder)
    again = XMCModel.from_pretrained(folder)
    assert again.predict(TEXTS) == model.predict(TEXTS)


def test_a_model_of_before_there_were_digests_is_read(saved: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(saved, folder)
    card = json.loads((folder / "xmc.json").read_text())
    (folder / "xmc.json").write_text(json.dumps({k: v for k, v in card.items() if k not in ("files", "digest")}))
    XMCModel.from_pretrained(folder)
