"""Tokenizers of transformers, as encoders ask them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.tokenization_utils_base import TruncationStrategy
from transformers.utils import PaddingStrategy

from xmc.errors import XMCError
from xmc.tokenizer import Tokenized, Tokenizer


class PretrainedTokenizer(Tokenizer):
    """Special tokens are put around each text, and where the tokenizer itself would pad plays no part."""

    def __init__(self, wrapped: PreTrainedTokenizerBase) -> None:
        self.wrapped = wrapped
        self.pad_id = 0 if wrapped.pad_token_id is None else int(wrapped.pad_token_id)

    def __call__(self, texts: Sequence[str], max_length: int) -> Tokenized:
        if type(self.wrapped) is PreTrainedTokenizerFast:
            return Tokenized(_ids(self.wrapped, list(texts), max_length))
        return Tokenized(
            self.wrapped(
                list(texts),
                truncation=True,
                max_length=max_length,
                return_attention_mask=False,
                return_token_type_ids=False,
            )["input_ids"]
        )

    def __len__(self) -> int:
        return len(self.wrapped)

    @property
    def num_special(self) -> int:
        return self.wrapped.num_special_tokens_to_add()

    @property
    def special_ids(self) -> Sequence[int]:
        return self.wrapped.all_special_ids

    @property
    def vocabulary(self) -> Mapping[str, int]:
        return self.wrapped.get_vocab()

    @property
    def content(self) -> Any:
        wrapped = self.wrapped
        if (library := getattr(wrapped, "backend_tokenizer", None)) is not None:
            content = json.loads(library.to_str())
            del content["truncation"], content["padding"]  # set by each call
        else:
            given = wrapped.init_kwargs.items()
            settings = {key: value for key, value in given if not key.endswith(("_file", "_path"))}
            content = [settings, wrapped.get_vocab()]
        return [type(wrapped).__name__, wrapped.truncation_side, wrapped.special_tokens_map, content]

    def save(self, folder: Path) -> None:
        if self.wrapped.is_fast:  # each call sets them anew; saved, they would tell whether this process tokenised
            self.wrapped.backend_tokenizer.no_truncation()
            self.wrapped.backend_tokenizer.no_padding()
        self.wrapped.save_pretrained(folder)

    def located(self, text: str, max_length: int) -> tuple[Tokenized, Sequence[tuple[int, int]]]:
        if not self.wrapped.is_fast:
            raise XMCError(
                f"{type(self.wrapped).__name__} does not tell where its tokens stand in a text; only models with a "
                "fast tokenizer of transformers can be explained"
            )
        read = self.wrapped(text, truncation=True, max_length=max_length, return_offsets_mapping=True)
        return Tokenized([read["input_ids"]]), read["offset_mapping"]


def _ids(tokenizer: PreTrainedTokenizerFast, texts: list[str], max_length: int) -> list[list[int]]:
    """Those that a call of the tokenizer gives, in a third of its time: the library behind it is asked at once, and for
    no offsets."""
    tokenizer.set_truncation_and_padding(
        PaddingStrategy.DO_NOT_PAD, TruncationStrategy.LONGEST_FIRST, max_length, 0, None, None
    )
    library = tokenizer.backend_tokenizer
    library.encode_special_tokens = tokenizer.split_special_tokens
    return [text.ids for text in library.encode_batch_fast(texts)]
