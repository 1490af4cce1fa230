"""What a saved encoder is read by, and how little of that a bag needs."""

import subprocess
import sys
from pathlib import Path

import pytest
from hostile import change
from test_huggingface import save_encoder
from test_model import TEXTS, make_model

from xmc.errors import XMCError
from xmc.model.encoder import Encoder
from xmc.model.huggingface import load_backbone

HEAVY = {"transformers.modeling_utils", "datasets", "pandas", "scipy.optimize", "scipy.stats", "sympy", "torch._dynamo"}
PREDICT = f"""
import sys
from xmc.__main__ import main
main()
sys.exit(" ".join({HEAVY} & sys.modules.keys()) or 0)
"""


def test_a_bag_predicts_without_what_takes_seconds_to_import(tmp_path: Path) -> None:
    make_model().save_pretrained(tmp_path / "model")
    overrides = [f"run={tmp_path / 'model'}", "input=-", f"output={tmp_path / 'labels.jsonl'}"]
    ended = subprocess.run(
        [sys.executable, "-c", PREDICT, "predict", *overrides],
        cwd=Path(__file__).parents[2],
        input=f'{{"id": "1", "text": "{TEXTS[0]}"}}\n',
        stderr=subprocess.PIPE,
        text=True,
    )
    assert (ended.returncode, ended.stderr.splitlines()[-1:]) == (0, [f"1 documents -> {tmp_path / 'labels.jsonl'}"])


def test_what_a_config_lacks_is_the_default(bert_folder: Path, tmp_path: Path) -> None:
    save_encoder("sparse_features", bert_folder, tmp_path)
    change(tmp_path / "config.json", term_dropout=None)
    backbone = Encoder.from_pretrained(tmp_path).backbone
    assert backbone.config.term_dropout == 0.2


def test_a_bag_is_no_transformer(bert_folder: Path, tmp_path: Path) -> None:
    save_encoder("bag", bert_folder, tmp_path)
    with pytest.raises(XMCError, match=r"config.json is of xmc_bag; give a transformer"):
        load_backbone(str(tmp_path))
