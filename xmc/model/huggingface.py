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

from xmc.model import hub
from xmc.model.bag import BagConfig, BagModel
from xmc.model.sparse_features import SparseFeaturesConfig, SparseFeaturesModel, SparseFeaturesTokenizer
from xmc.model.tensor_file import ANEW, SHARDS, Shards, check_finite, check_size, few, fill
from xmc.storage import read_json
from xmc.types import XMCError, said

AutoConfig.register(BagConfig.model_type, BagConfig)
AutoModel.register(BagConfig, BagModel)
AutoConfig.register(SparseFeaturesConfig.model_type, SparseFeaturesConfig)
AutoModel.register(SparseFeaturesConfig, SparseFeaturesModel)
AutoTokenizer.register(SparseFeaturesConfig, slow_tokenizer_class=SparseFeaturesTokenizer)

_TOKENIZER_FILES = ("tokenizer*.json", "vocab*.json", "*tokens*.json", "*.txt", "*.model", "*.codes", "*.tiktoken")
_FILES = ("config.json", "model*.safetensors", SHARDS, *_TOKENIZER_FILES)  # of a repository; no pickle, no Python
_HUB_ID = re.compile(r"([\w.-]+/)?[\w.-]+")
_WEIGHTS_ELSEWHERE = ("quantization_config", "transformers_weights")
_WAY_OUT = "give a Hugging Face hub id or a folder with config.json, model.safetensors and a tokenizer"
_MOST = dict.fromkeys(("num_hidden_layers", "num_layers", "n_layers", "n_layer"), 1_000) | {"num_labels": 1_000_000}
_UNKNOWN = "\N{CYRILLIC LETTER MULTIOCULAR O}" * 8  # letters, but no word
_RAREST = 100  # idf of a term: a logarithm of a number of documents
_ONE_AT_A_TIME = threading.RLock()


def load_backbone(name: str, dropout: float | None = None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
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
        return empty_backbone(_fetched(name, ("config.json",)), dropout)


def saved_backbone(folder: Path) -> PreTrainedModel:
    """What `Encoder.save_pretrained` wrote, tensor by tensor. Raises XMCError where it is not whole."""
    config = _configuration(folder, None)
    if isinstance(config, BagConfig | SparseFeaturesConfig):
        return _saved_bag(partial(_of_configuration, config), Shards(folder))
    return _load(folder, None, spare=lambda key: False, exact=True)


def _saved_bag(make: Callable[[], PreTrainedModel], saved: Shards) -> PreTrainedModel:
    """Without drawing a table first; all that a bag consists of is saved."""
    check_size(make, saved)
    with torch.device("meta"):
        bag = make()
    bag.to_empty(device="cpu")
    fill(bag.state_dict(), saved)
    return bag


def empty_backbone(folder: Path, dropout: float | None = None) -> PreTrainedModel:
    """A model of the folder's configuration, without its weights."""
    return _of_configuration(_configuration(folder, dropout))


def _of_configuration(config: PretrainedConfig) -> PreTrainedModel:
    with _closed():
        backbone: PreTrainedModel = AutoModel.from_config(config, trust_remote_code=False, dtype=torch.float32)
    return backbone


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder."""
    for file in ("tokenizer_config.json", "config.json"):
        name = read_json(folder / file).get("tokenizer_class") if (folder / file).is_file() else None
        found = tokenizer_class_from_name(name) if isinstance(name, str) else None
        if not (found is None or (isinstance(found, type) and issubclass(found, PreTrainedTokenizerBase))):
            raise XMCError(f"{folder / file}: tokenizer_class {name!r} is no tokenizer")
    with _closed():
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    names = sorted(tokenizer.vocab_files_names.values())
    if names and not any((folder / name).is_file() for name in names):  # transformers makes one that knows no word
        raise XMCError(f"{folder} has no tokenizer, neither {' nor '.join(names)}; copy the model again")
    return tokenizer


def check_tokens(tokenizer: PreTrainedTokenizerBase, backbone: PreTrainedModel, folder: Path) -> None:
    """Raise XMCError where a token has no row in the table of the model, which was read from the folder.

    Whatever the tokenizer raises where it has no token for an unknown word comes through.
    """
    if isinstance(tokenizer, SparseFeaturesTokenizer) or isinstance(backbone, SparseFeaturesModel):
        tokens, rows = len(tokenizer), getattr(backbone.config, "num_features", 0)
    elif isinstance(backbone, BagModel):
        tokens, rows = _tokens(tokenizer), backbone.config.vocab_size
        if (backbone.bigrams.diff(prepend=torch.tensor([-1]), append=torch.tensor([rows**2])) <= 0).any():
            raise XMCError(f"{folder}: the bigrams do not ascend from 0 to {rows**2 - 1}; {ANEW}")
        if not ((backbone.idf >= 0) & (backbone.idf <= _RAREST)).all():
            raise XMCError(f"{folder}: idf has a number that is not from 0 to {_RAREST}; {ANEW}")
    else:
        tokens, rows = _tokens(tokenizer), backbone.get_input_embeddings().num_embeddings
    if tokens > rows:
        raise XMCError(
            f"{folder}: the tokenizer has ids up to {tokens - 1}, the model {rows} rows; copy the model again"
        )


def _tokens(tokenizer: PreTrainedTokenizerBase) -> int:
    """One more than the largest id that a text can get: in the vocabulary, unknown, or put around each text."""
    return max([*tokenizer.get_vocab().values(), *tokenizer(_UNKNOWN)["input_ids"]], default=-1) + 1


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
    path = folder / "config.json"
    if special := [entry for entry in folder.iterdir() if not (entry.is_file() or entry.is_dir())]:
        raise XMCError(f"{special[0]} is no file (but a device, or a link to nowhere); copy the model again")
    values = read_json(path)
    if elsewhere := [key for key in _WEIGHTS_ELSEWHERE if values.get(key) is not None]:
        raise XMCError(f"{path} has {elsewhere[0]}; expected a model whose own weights are in model.safetensors")
    for part in (values, *(value for value in values.values() if isinstance(value, dict))):
        for key, most in _MOST.items():  # of which transformers make as many objects at once
            if isinstance(part.get(key), int) and part[key] > most:
                raise XMCError(f"{path}: {key} is {part[key]}; expected at most {most}: copy the model again")
    if (folder / "adapter_config.json").exists():
        raise XMCError(f"{folder} has an adapter; merge it into its model by PEFT's merge_and_unload, and save that")
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

    Nor does it warn: what is wrong with a model becomes an error here.
    """
    with _ONE_AT_A_TIME:
        before = constants.HF_HUB_OFFLINE, dynamic_module_utils.TIME_OUT_REMOTE_CODE
        constants.HF_HUB_OFFLINE, dynamic_module_utils.TIME_OUT_REMOTE_CODE = True, 0
        verbosity = transformers_logging.get_verbosity()
        transformers_logging.set_verbosity_error()
        try:
            yield
        finally:
            transformers_logging.set_verbosity(verbosity)
            constants.HF_HUB_OFFLINE, dynamic_module_utils.TIME_OUT_REMOTE_CODE = before


@contextmanager
def told(what: str, way_out: str) -> Iterator[None]:
    """Whatever a library raises while something foreign is read, as one clear error."""
    try:
        yield
    except XMCError:
        raise
    except Exception as error:
        reason = said(error) or type(error).__name__
        raise XMCError(f"{what} cannot be loaded: {reason}; {way_out}") from None
