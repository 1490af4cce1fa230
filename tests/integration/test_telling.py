"""What a run says when it begins, while it goes and when it ends."""

from pathlib import Path

from harness import Run, small


def test_a_run_opens_with_what_it_learns_from_and_ends_with_what_comes_next(
    corpus: Path, tmp_path: Path, xmc: Run
) -> None:
    told = xmc("train", *small(corpus, f"run={tmp_path / 'r'}", "trainer.epochs=2")).stderr
    assert "data: jsonl, 400 documents of train, 60 of dev, 60 of test\n" in told
    assert "\nlabels: 12, 1.5 a document; all have names\n" in told
    assert f"device: cpu, 1 threads\nrun: {tmp_path / 'r'}, 50 steps of 16 documents" in told
    assert "\nabout " in told and " for 50 steps, dev apart; " in told
    assert "\ndev  step 40  epoch 1  P@1 " in told
    assert "tokenising" not in told and "%|" not in told
    assert told.endswith(
        f"next:\n  xmc evaluate run={tmp_path / 'r'} split=test\n  xmc report run={tmp_path / 'r'}\n"
        f"  xmc predict run={tmp_path / 'r'} input=documents.jsonl output=predictions.jsonl\n"
        f"  xmc serve run={tmp_path / 'r'}\n"
    )


def test_prepare_tells_what_it_read(corpus: Path, tmp_path: Path, xmc: Run) -> None:
    told = xmc("prepare", "data=jsonl", f"data.root={corpus}", f"data.cache_dir={tmp_path}").stdout
    assert "train            400 documents" in told and "labels            12; all have names\n" in told
    assert told.splitlines()[-1].startswith("the first is train0: 'word") and " -> The topic " in told
