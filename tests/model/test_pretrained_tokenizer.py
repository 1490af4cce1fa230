from pathlib import Path

from xmc.model.huggingface import load_tokenizer


def test_the_fingerprint_is_of_the_content(bert_folder: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(bert_folder)
    before = tokenizer.fingerprint
    tokenizer(["a b"], 4)
    assert tokenizer.fingerprint == before
    tokenizer.save(tmp_path)
    assert load_tokenizer(tmp_path).fingerprint == before
    tokenizer.wrapped.truncation_side = "left"
    assert tokenizer.fingerprint != before


def test_tokens_are_located_in_the_text(bert_folder: Path) -> None:
    (rows, _), places = load_tokenizer(bert_folder).located("open a file", 4)
    assert len(rows[0]) == len(places) == 4
    assert [*places] == [(0, 0), (0, 4), (5, 6), (0, 0)]
