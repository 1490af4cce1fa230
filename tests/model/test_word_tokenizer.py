from pathlib import Path

import pytest
from transformers import AutoTokenizer

from xmc.model.word_tokenizer import WordTokenizer, scripts_of

TEXTS = ["Open the file", "open a file, then close the file", "parseHTTPHeader and parse_header", "the cat", "a cat"]
ODD = ["", "!!!", "\n\t ", "[PAD] open [UNK]", "open " * 40, "x" * 3000, "nie gesehen 東京", "parseHTTPHeader a_file"]


def words_of(tokenizer: WordTokenizer, text: str) -> list[str]:
    names = {number: word for word, number in tokenizer.vocabulary.items()}
    return [names[number] for number in tokenizer([text], 100).ids[0]]


def test_tokenizer_splits_words_and_identifiers() -> None:
    tokenizer = WordTokenizer.learned(TEXTS * 2, 100)
    words = ["open", "parse", "httpheader", "parse", "header", "[UNK]"]
    assert words_of(tokenizer, "Open parseHTTPHeader, parse_header 42!") == words
    assert (tokenizer.pad_id, tokenizer(["unheard"], 5).ids) == (0, [[1]])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("机器学习 and deep学习2020年", ["机", "器", "学", "习", "and", "deep", "学", "习", "2020", "年"]),
        ("東京タワーへ行く。", ["東", "京", "タ", "ワ", "ー", "へ", "行", "く"]),
        ("ภาษาไทยที่", ["ภ", "า", "ษ", "า", "ไ", "ท", "ย", "ที่"]),
        ("ພາສາລາວ", ["ພ", "າ", "ສ", "າ", "ລ", "າ", "ວ"]),
        ("ភាសាខ្មែរ", ["ភា", "សា", "ខ្", "មែ", "រ"]),
        ("မြန်မာ", ["မြ", "န်", "မာ"]),
        ("naïve नमस्ते 한국어 привет עברית", ["naïve", "नमस्ते", "한국어", "привет", "עברית"]),
    ],
)
def test_scripts_without_spaces_are_cut_into_characters(text: str, words: list[str]) -> None:
    assert words_of(WordTokenizer.learned([text], min_frequency=1), text) == words


def test_scripts_are_counted_by_word() -> None:
    words = ["机", "器", "タ", "naïve", "привет", "ไ", "2020", "[PAD]", ""]
    counted = {"Han": 2, "Katakana": 1, "Latin": 1, "Cyrillic": 1, "Thai": 1}
    assert scripts_of(words) == counted


def test_tokenizer_is_reproducible() -> None:
    assert WordTokenizer.learned(TEXTS * 2, 100).vocabulary == WordTokenizer.learned(TEXTS * 2, 100).vocabulary


def test_rare_words_are_unknown() -> None:
    once, twice, thrice = (set(WordTokenizer.learned(TEXTS, 100, least).vocabulary) for least in (1, 2, 3))
    assert once - twice == {"then", "close", "and", "header", "httpheader"}
    assert twice - thrice == {"open", "a", "parse", "cat"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    WordTokenizer.learned(TEXTS * 2, 100).save(tmp_path)
    return tmp_path


def test_transformers_read_it_too(folder: Path) -> None:
    """With the same ids, and save it alike."""
    theirs, ours = AutoTokenizer.from_pretrained(folder), WordTokenizer.load(folder)
    assert ours(ODD, 6).ids == theirs(ODD, truncation=True, max_length=6)["input_ids"]
    assert (ours.pad_id, list(ours.special_ids)) == (theirs.pad_token_id, sorted(theirs.all_special_ids))
    read = theirs(ODD[-1], return_offsets_mapping=True)
    assert ours.located(ODD[-1], 6) == (([read["input_ids"]], None), read["offset_mapping"])
    written = (folder / "tokenizer.json").read_bytes()
    theirs.backend_tokenizer.no_truncation()
    theirs.save_pretrained(folder)
    assert (folder / "tokenizer.json").read_bytes() == written


def test_saved_and_loaded(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    tokenizer = WordTokenizer.load(folder)
    assert tokenizer(TEXTS, 3).ids[1] == tokenizer(TEXTS, 16).ids[1][:3]
    tokenizer.save(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_the_fingerprint_is_that_of_earlier_versions() -> None:
    """Their caches and checkpoints go on."""
    tokenizer = WordTokenizer.learned(["a cat sat", "a cat openFile 12"], 10, 1)
    assert tokenizer.fingerprint == "947384fd37ba782452258a190264f2e1"
    tokenizer(["a"], 3)
    assert tokenizer.fingerprint == "947384fd37ba782452258a190264f2e1"
