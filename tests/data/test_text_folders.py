from pathlib import Path

import pytest

from xmc.data.text_folders import TextFolders
from xmc.errors import XMCError


def write(root: Path, **texts: str) -> TextFolders:
    for name, text in texts.items():
        path = root / f"{name.replace('__', '/')}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("cp1252"))
    return TextFolders(root=str(root), cache_dir=str(root.parent / "cache"))


def test_a_folder_is_a_label(tmp_path: Path) -> None:
    data = write(tmp_path / "set", animals__birds__a="wing\nnest", animals__b="Käfer der Alpen", plants__a="leaf")
    train = data.load().split("train")
    assert list(train.ids) == ["train/animals/b.txt", "train/animals/birds/a.txt", "train/plants/a.txt"]
    assert list(train.texts) == ["Käfer der Alpen", "wing\nnest", "leaf"]
    corpus = TextFolders(**data.model_dump(exclude={"parents"}), parents="/").load()
    assert list(corpus.label_ids) == ["animals", "animals/birds", "plants"]
    assert corpus.label_counts("train").tolist() == [2, 1, 1]


def test_splits(tmp_path: Path) -> None:
    corpus = write(tmp_path / "set", train__x__a="a", validation__x__a="b", test__y__a="c").load()
    assert {name: list(split.texts) for name, split in corpus.splits.items()} == {
        "train": ["a"],
        "dev": ["b"],
        "test": ["c"],
    }


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(XMCError, match=r"set/a.txt: in no folder of a label; move it into one"):
        write(tmp_path / "set", a="a").load()
    with pytest.raises(XMCError, match=r"x/a.txt: empty text"):
        write(tmp_path / "other", x__a=" ").load()
    (tmp_path / "none").mkdir()
    with pytest.raises(XMCError, match=r"none has no .txt file; expected <label>/\*.txt there"):
        write(tmp_path / "none").load()
