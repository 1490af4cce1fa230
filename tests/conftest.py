import os
import signal
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from xmc.storage import user_cache

signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal: nohup and the background ignore signals
signal.signal(signal.SIGHUP, signal.SIG_DFL)
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else each process that tests start compiles all of xmc anew
sys.dont_write_bytecode = False
if (cache := user_cache()) is not None:
    os.environ.setdefault("NUMBA_CACHE_DIR", str(cache / "xmc"))  # where it is anyhow, for tests with another home, too
os.fsync = lambda _: None  # no power is cut here, and a run waits for some seventy of them
settings.register_profile("no deadline", deadline=None)  # how long an example takes is the machine's matter
settings.load_profile("no deadline")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder `shared` beside the checkout: golden figures and real data sets."""
    folder = Path(__file__).resolve().parents[1].parent / "shared"
    if not folder.is_dir():
        pytest.skip("needs the folder `shared` beside the checkout")
    return folder


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with unusual special token ids, as a local Hugging Face folder."""
    from transformers import AutoTokenizer, BertConfig, BertModel

    folder = tmp_path_factory.mktemp("bert")
    words = ["[MASK]", "[SEP]", "open", "a", "file", "module", "[PAD]", "[UNK]", "[CLS]", *"bcdefgh"]
    (folder / "vocab.txt").write_text("\n".join(words))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "do_lower_case": true}')
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        pad_token_id=words.index("[PAD]"),
    )
    torch.manual_seed(0)
    BertModel(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(folder).save_pretrained(folder)
    return folder
