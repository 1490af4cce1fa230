import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset
from scipy.sparse import csr_matrix
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from xmc.data import tokens as module
from xmc.data.corpus import ArrowTexts, Split
from xmc.data.tokens import tokenize
from xmc.errors import XMCError
from xmc.model.pretrained_tokenizer import PretrainedTokenizer

WORDS = ["<pad>", "<unk>", "<s>", "</s>", *"abcdefgh"]


def make_tokenizer(words: list[str] = WORDS) -> PretrainedTokenizer:
    """Odd special tokens on purpose: none of BERT's."""
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 3)]
    )
    special = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    return PretrainedTokenizer(PreTrainedTokenizerFast(tokenizer_object=backend, **special))


def make_split(texts: list[str]) -> Split:
    return Split([str(i) for i in range(len(texts))], texts, csr_matrix((len(texts), 2), dtype=np.float32))


def listed(folder: Path) -> list[Path]:
    """What `ls` shows: no locks."""
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


@pytest.fixture
def split() -> Split:
    return make_split(["a b c d e f", "h", "", *(" ".join("abcdefgh"[: i % 8]) for i in range(40))])


def test_ids_truncation_and_special_tokens(split: Split, tmp_path: Path) -> None:
    tokens = tokenize(split, make_tokenizer(), 5, tmp_path)
    assert tokens.column_names == ["input_ids"]
    assert tokens.data.column("input_ids").type.value_type == pa.int32()
    assert tokens[:3]["input_ids"] == [[2, 4, 5, 6, 3], [2, 11, 3], [2, 3]]


def test_processes_and_storage_make_no_difference(split: Split, tmp_path: Path) -> None:
    one = tokenize(split, make_tokenizer(), 8, tmp_path / "one")
    two = tokenize(split, make_tokenizer(), 8, tmp_path / "two", processes=2)
    part = Split(split.ids, ArrowTexts(Dataset.from_dict({"text": list(split.texts)})), split.labels)
    stored = tokenize(part.select(range(5, 20)), make_tokenizer(), 8, tmp_path / "three")
    assert one[:] == two[:]
    assert stored[:] == one[5:20]


def test_cached(split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = tokenize(split, make_tokenizer(), 8, tmp_path)
    monkeypatch.setattr(module, "_write", None)
    assert tokenize(split, make_tokenizer(), 8, tmp_path)[:] == first[:]


def test_key_is_text_tokenizer_and_length(split: Split, tmp_path: Path) -> None:
    swapped = [*WORDS[:4], *reversed(WORDS[4:])]
    tokenize(split, make_tokenizer(), 8, tmp_path)
    tokenize(split, make_tokenizer(), 7, tmp_path)
    tokenize(split, make_tokenizer(swapped), 8, tmp_path)
    tokenize(split.select([0, 1]), make_tokenizer(), 8, tmp_path)
    assert len(list(tmp_path.glob("tokens-*"))) == len(listed(tmp_path)) == 4


@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing", "manifest"])
def test_a_damaged_cache_is_made_anew(split: Split, tmp_path: Path, damage: str) -> None:
    expected = tokenize(split, make_tokenizer(), 8, tmp_path)[:]
    (folder,) = listed(tmp_path)
    (arrow,) = folder.glob("*.arrow")
    content = bytearray(arrow.read_bytes())
    if damage == "truncated":
        arrow.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[len(content) // 2] ^= 1
        arrow.write_bytes(content)
    elif damage == "missing":
        arrow.unlink()
    else:
        (folder / "manifest.json").write_text("[]")
    assert tokenize(split, make_tokenizer(), 8, tmp_path)[:] == expected
    assert list(json.loads((folder / "manifest.json").read_text())) == [arrow.name]


def test_an_interrupted_write_leaves_nothing(split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("xmc.data.cache.digest", stop)
    with pytest.raises(KeyboardInterrupt):
        tokenize(split, make_tokenizer(), 8, tmp_path)
    assert not listed(tmp_path) and not list(tmp_path.glob("*.tmp"))


def test_no_room_for_text(split: Split, tmp_path: Path) -> None:
    with pytest.raises(XMCError, match="max_length 2 has no room for text beside 2 special tokens; raise it"):
        tokenize(split, make_tokenizer(), 2, tmp_path)


def test_parts_that_were_joined_are_read_once(split: Split, tmp_path: Path) -> None:
    tokenizer, more, nothing = make_tokenizer(), make_split(["a", "b c"]), make_split([])
    alone = tokenize(split, tokenizer, 8, tmp_path)
    joined = split.followed_by(nothing).followed_by(more)
    together = tokenize(joined, tokenizer, 8, tmp_path)
    assert together[:] == {"input_ids": alone[:]["input_ids"] + tokenize(more, tokenizer, 8, tmp_path)[:]["input_ids"]}
    assert together[:] == tokenize(Split(joined.ids, joined.texts, joined.labels), tokenizer, 8, tmp_path / "whole")[:]
    assert len(listed(tmp_path)) == 3, "the two parts, and the folder of the whole"
