"""The folder of a saved encoder: looked at first, and read here where it is a bag's; the others pass `huggingface`.

What reads others draws in most of transformers, which takes seconds, and is therefore imported with the first of them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from xmc.endings import undisturbed
from xmc.errors import XMCError, said
from xmc.model.bag import CONFIG, BagConfig, BagModel, EmbeddingBag, EmbeddingBagConfig
from xmc.model.sparse_features import SparseFeaturesConfig, SparseFeaturesModel, SparseFeaturesTokenizer
from xmc.model.sparse_ift import SparseIFT
from xmc.model.tensor_file import ANEW, Shards, check_size, fill
from xmc.model.word_tokenizer import WordTokenizer
from xmc.storage import read_json
from xmc.tokenizer import Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BAGS: dict[str, tuple[type[EmbeddingBagConfig], Callable[[Any], EmbeddingBag]]] = {
    BagConfig.model_type: (BagConfig, BagModel),
    SparseFeaturesConfig.model_type: (SparseFeaturesConfig, SparseFeaturesModel),
}
"""Configuration and model of each kind of bag, by its `model_type`."""

_WEIGHTS_ELSEWHERE = ("quantization_config", "transformers_weights")
_MOST = dict.fromkeys(("num_hidden_layers", "num_layers", "n_layers", "n_layer"), 1_000) | {"num_labels": 1_000_000}
_UNKNOWN = "\N{CYRILLIC LETTER MULTIOCULAR O}" * 8  # letters, but no word
_MANY = 512  # more tokens than a word has
_RAREST = 100  # idf of a term: a logarithm of a number of documents


def checked_config(folder: Path) -> dict[str, Any]:
    """What config.json says. Raises XMCError where the folder has what is never read, or numbers beyond all bounds."""
    path = folder / CONFIG
    if special := [entry for entry in folder.iterdir() if not (entry.is_file() or entry.is_dir())]:
        raise XMCError(f"{special[0]} is no file (but a device, or a link to nowhere); copy the model again")
    values: dict[str, Any] = read_json(path)
    if elsewhere := [key for key in _WEIGHTS_ELSEWHERE if values.get(key) is not None]:
        raise XMCError(f"{path} has {elsewhere[0]}; expected a model whose own weights are in model.safetensors")
    for part in (values, *(value for value in values.values() if isinstance(value, dict))):
        for key, most in _MOST.items():  # of which transformers make as many objects at once
            if isinstance(part.get(key), int) and part[key] > most:
                raise XMCError(f"{path}: {key} is {part[key]}; expected at most {most}: copy the model again")
    if (folder / "adapter_config.json").exists():
        raise XMCError(f"{folder} has an adapter; merge it into its model by PEFT's merge_and_unload, and save that")
    return values


def saved_backbone(folder: Path, transformation: SparseIFT | None = None) -> "PreTrainedModel | EmbeddingBag":
    """What `Encoder.save_pretrained` wrote, tensor by tensor.

    transformation: of the feed-forward blocks of a transformer.

    Raises XMCError where it is not whole.
    """
    values = checked_config(folder)
    if values.get("model_type") not in BAGS:
        with undisturbed():
            from xmc.model.huggingface import saved_transformer

        return saved_transformer(folder, transformation)
    config, model = BAGS[values["model_type"]]
    return _saved_bag(partial(model, config.of(values)), Shards(folder))


def _saved_bag(make: Callable[[], EmbeddingBag], saved: Shards) -> EmbeddingBag:
    """Without drawing a table first; all that a bag consists of is saved."""
    check_size(make, saved)
    with torch.device("meta"):
        bag = make()
    tensors = {name: torch.empty(own.shape, dtype=own.dtype) for name, own in bag.state_dict().items()}
    fill(tensors, saved)
    bag.load_state_dict(tensors, assign=True)
    return bag


def saved_tokenizer(folder: Path, backbone: "PreTrainedModel | EmbeddingBag") -> Tokenizer:
    """The tokenizer that was saved beside the backbone."""
    if not isinstance(backbone, EmbeddingBag):
        from xmc.model.huggingface import load_tokenizer

        return load_tokenizer(folder)
    kind = SparseFeaturesTokenizer if isinstance(backbone, SparseFeaturesModel) else WordTokenizer
    if not (folder / kind.FILE).is_file():
        raise XMCError(f"{folder} has no {kind.FILE}; copy the model again")
    return kind.load(folder)


def check_tokens(tokenizer: Tokenizer, backbone: "PreTrainedModel | EmbeddingBag", folder: Path) -> None:
    """Raise XMCError where a token has no row in the table of the model, which was read from the folder.

    Whatever the tokenizer raises where it has no token for an unknown word comes through.
    """
    if isinstance(tokenizer, SparseFeaturesTokenizer) or isinstance(backbone, SparseFeaturesModel):
        tokens, rows = len(tokenizer), getattr(backbone.config, "num_features", 0)
    elif isinstance(backbone, BagModel):
        tokens, rows, words = _tokens(tokenizer), backbone.config.vocab_size, backbone.config.word_rows
        if (backbone.bigrams.diff(prepend=torch.tensor([-1]), append=torch.tensor([words**2])) <= 0).any():
            raise XMCError(f"{folder}: the bigrams do not ascend from 0 to {words**2 - 1}; {ANEW}")
        if not ((backbone.idf >= 0) & (backbone.idf <= _RAREST)).all():
            raise XMCError(f"{folder}: idf has a number that is not from 0 to {_RAREST}; {ANEW}")
    else:
        assert not isinstance(backbone, EmbeddingBag)
        tokens, rows = _tokens(tokenizer), backbone.get_input_embeddings().num_embeddings
    if tokens > rows:
        raise XMCError(
            f"{folder}: the tokenizer has ids up to {tokens - 1}, the model {rows} rows; copy the model again"
        )


def _tokens(tokenizer: Tokenizer) -> int:
    """One more than the largest id that a text can get: in the vocabulary, unknown, or put around each text."""
    unknown = tokenizer([_UNKNOWN], _MANY).ids[0]
    return max([*tokenizer.vocabulary.values(), *unknown], default=-1) + 1


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
