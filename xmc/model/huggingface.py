"""The one door through which Hugging Face models come in: safetensors alone, and nothing of theirs is fetched or run.

A folder can name Python to run (`auto_map`), kernels to fetch and run (`attn_implementation`), a class that reads other
files than it should (`tokenizer_class`) and files anywhere (an index of shards). So a folder is looked at first, and
while it is read the Hub is out of reach and nobody is asked whether its code may run.
"""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from huggingface_hub import constants
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    dynamic_module_utils,
)
from transformers.models.auto.tokenization_auto import tokenizer_class_from_name
from transformers.utils import logging as transformers_logging

from xmc.errors import XMCError
from xmc.model import hub
from xmc.model.bag import CONFIG
from xmc.model.encoder_folder import BAGS, check_tokens, checked_config, told
from xmc.model.pretrained_tokenizer import PretrainedTokenizer
from xmc.model.sparse_ift import SparseIFT, no_connections, sparsify_feed_forward_
from xmc.model.tensor_file import SHARDS, Shards, check_finite, check_size, few, fill
from xmc.storage import read_json

_TOKENIZER_CONFIG = "tokenizer_config.json"
_TOKENIZER_FILES = ("tokenizer*.json", "vocab*.json", "*tokens*.json", "*.txt", "*.model", "*.codes", "*.tiktoken")
_FILES = (CONFIG, "model*.safetensors", SHARDS, *_TOKENIZER_FILES)  # of a repository; no pickle, no Python
_HUB_ID = re.compile(r"(\w[\w.-]*/)?\w[\w.-]*")
_WAY_OUT = "give a Hugging Face hub id or a folder with config.json, model.safetensors and a tokenizer"
_ONE_AT_A_TIME = threading.RLock()


def load_backbone(name: str, dropout: float | None = None) -> tuple[PreTrainedModel, PretrainedTokenizer]:
    """A pretrained model and its tokenizer by hub id or folder.

    dropout: of every part of the backbone that has one; None: as its own configuration says. What the file has beyond
    the backbone, such as the head of a task, is left there; a pooler, which no pooling of ours asks, may be missing.

    Raises:
        XMCError: there is no such model, its weights are not in safetensors, or it is not whole.
    """
    with told(f"encoder {name!r}", _WAY_OUT):
        folder = _fetched(name, _FILES)
        backbone, tokenizer = _load(folder, dropout, spare=lambda key: "pooler" in key), load_tokenizer(folder)
        check_tokens(tokenizer, backbone, folder)
        return backbone, tokenizer


def meta_backbone(name: str, dropout: float | None = None) -> PreTrainedModel:
    """The same model on the meta device: its shapes alone, for which its configuration is enough.

    Raises:
        XMCError: there is no such configuration.
    """
    with told(f"encoder {name!r}", _WAY_OUT), torch.device("meta"):
        return empty_backbone(_fetched(name, (CONFIG,)), dropout)


def saved_transformer(folder: Path, transformation: SparseIFT | None) -> PreTrainedModel:
    """As `encoder_folder.saved_backbone`."""
    if transformation is None:
        return _load(folder, None, spare=lambda key: False, exact=True)

    def make() -> PreTrainedModel:
        backbone = empty_backbone(folder)
        sparsify_feed_forward_(backbone, transformation, no_connections, keep=False)
        return backbone

    saved = Shards(folder)
    check_size(make, saved)
    backbone = make()
    fill(backbone.state_dict(), saved)
    return backbone


def empty_backbone(folder: Path, dropout: float | None = None) -> PreTrainedModel:
    """A model of the folder's configuration, without its weights."""
    return _of_configuration(_configuration(folder, dropout))


def _of_configuration(config: PretrainedConfig) -> PreTrainedModel:
    with _closed():
        backbone: PreTrainedModel = AutoModel.from_config(config, trust_remote_code=False, dtype=torch.float32)
    return backbone


def load_tokenizer(folder: Path) -> PretrainedTokenizer:
    """The tokenizer of a folder."""
    for file in (_TOKENIZER_CONFIG, CONFIG):
        name = read_json(folder / file).get("tokenizer_class") if (folder / file).is_file() else None
        found = tokenizer_class_from_name(name) if isinstance(name, str) else None
        if not (found is None or (isinstance(found, type) and issubclass(found, PreTrainedTokenizerBase))):
            raise XMCError(f"{folder / file}: tokenizer_class {name!r} is no tokenizer")
    with _closed():
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    names = sorted(tokenizer.vocab_files_names.values())
    if names and not any((folder / name).is_file() for name in names):  # transformers makes one that knows no word
        raise XMCError(f"{folder} has no tokenizer, neither {' nor '.join(names)}; copy the model again")
    return PretrainedTokenizer(tokenizer)


def _load(folder: Path, dropout: float | None, spare: Callable[[str], bool], exact: bool = False) -> PreTrainedModel:
    """spare: whether the file may lack a tensor. exact: whether it may have no others."""
    config, files = _configuration(folder, dropout), Shards(folder)
    check_size(partial(_of_configuration, config), files)
    quietly = {"ignore_mismatched_sizes": True, "output_loading_info": True}  # what is amiss is told here
    settings = {"config": config, "dtype": torch.float32} | quietly
    with _closed():
        backbone, found = AutoModel.from_pretrained(
            folder, trust_remote_code=False, use_safetensors=True, local_files_only=True, **settings
        )
    missing = sorted(key for key in found["missing_keys"] if not spare(key))
    unexpected = sorted(found["unexpected_keys"]) if exact else []
    reshaped = sorted(name for name, *_ in found["mismatched_keys"])
    own = backbone.state_dict()
    retyped = [key for key in files if key in own and files[key].is_floating_point() != own[key].is_floating_point()]
    if missing or unexpected or reshaped or retyped:
        raise XMCError(
            f"{files.path}: missing {few(missing)}, unexpected {few(unexpected)}, of other shapes {few(reshaped)}, "
            f"of other types {few(retyped)}; expected the tensors of its config.json's model: copy it again"
        )
    check_finite(backbone.state_dict(), files.path)
    return backbone


def _configuration(folder: Path, dropout: float | None) -> PretrainedConfig:
    if (kind := checked_config(folder).get("model_type")) in BAGS:
        raise XMCError(f"{folder / CONFIG} is of {kind}; give a transformer")
    with _closed():
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    config._attn_implementation = None  # the default of transformers, not a kernel that the folder chooses
    if dropout is not None:
        config.update({key: dropout for key, value in vars(config).items() if _is_dropout(key, value)})
    return config


def _is_dropout(key: str, value: object) -> bool:
    """Whether an entry of a model's configuration is a dropout probability; each family has its own names for them."""
    return "dropout" in key and isinstance(value, (int, float)) and not isinstance(value, bool)


def _fetched(name: str, files: tuple[str, ...]) -> Path:
    """The folder of that name or, where there is none, these files of the Hub's repository."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if not _HUB_ID.fullmatch(name):
        raise FileNotFoundError("there is no such folder")
    return hub.download(name, None, files)


@contextmanager
def _closed() -> Iterator[None]:
    """Meanwhile transformers fetches nothing and asks nobody, in whatever part of itself it comes to that.

    Nor does it warn, or draw bars: what is wrong with a model becomes an error here.
    """
    with _ONE_AT_A_TIME:
        before = constants.HF_HUB_OFFLINE, dynamic_module_utils.TIME_OUT_REMOTE_CODE
        constants.HF_HUB_OFFLINE, dynamic_module_utils.TIME_OUT_REMOTE_CODE = True, 0
        verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
        try:
            yield
        finally:
            transformers_logging.set_verbosity(verbosity)
            if bars:
                transformers_logging.enable_progress_bar()
            constants.HF_HUB_OFFLINE, dynamic_module_utils.TIME_OUT_REMOTE_CODE = before
