"""The tokenizer of a bag: words, learned from the training texts."""

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import Regex, models, normalizers, pre_tokenizers, processors, trainers

from xmc.tokenizer import Tokenized, Tokenizer

PAD, UNK = "[PAD]", "[UNK]"
NUM_SPECIAL = 2  # ids of PAD and UNK; they are no terms
UNKNOWN = 1
_UNSPACED = "Han", "Hiragana", "Katakana", "Thai", "Lao", "Khmer", "Myanmar"  # scripts without spaces between words
# What transformers, which can read it too, write beside it and make of it; caches of before are known by it.
_OF_TRANSFORMERS = {"backend": "tokenizers", "model_max_length": int(1e30), "tokenizer_class": "TokenizersBackend"}


class WordTokenizer(Tokenizer):
    """Words are lower-cased runs of letters or of digits, and the parts of camelCase and snake_case. In scripts without
    spaces between words, each character with its marks is a word; pairs of them are the bag's bigrams. Padding is id 0,
    unknown words are id 1, the others are numbered from the most frequent on.
    """

    FILE = "tokenizer.json"

    def __init__(self, library: tokenizers.Tokenizer) -> None:
        self.library = library

    @classmethod
    def learned(cls, texts: Iterable[str], vocab_size: int = 50_000, min_frequency: int = 2) -> Self:
        """With the most frequent words of the texts that occur `min_frequency` times at least."""
        library = _untrained()
        trainer = trainers.WordLevelTrainer(
            vocab_size=vocab_size, min_frequency=min_frequency, special_tokens=[PAD, UNK], show_progress=False
        )
        library.train_from_iterator(texts, trainer)
        library.post_processor = processors.TemplateProcessing(single="$A", pair="$A $B:1")
        return cls(library)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote."""
        return cls(tokenizers.Tokenizer.from_file(str(folder / cls.FILE)))

    def __call__(self, texts: Sequence[str], max_length: int) -> Tokenized:
        self.library.enable_truncation(max_length)
        return Tokenized([text.ids for text in self.library.encode_batch_fast(list(texts))])

    def __len__(self) -> int:
        return self.library.get_vocab_size()

    @property
    def vocabulary(self) -> dict[str, int]:
        return self.library.get_vocab()

    @property
    def num_special(self) -> int:
        return self.library.num_special_tokens_to_add(is_pair=False)

    @property
    def special_ids(self) -> Sequence[int]:
        return 0, UNKNOWN

    @property
    def content(self) -> Any:
        library = json.loads(self.library.to_str())
        del library["truncation"], library["padding"]  # set by each call
        return [_OF_TRANSFORMERS["tokenizer_class"], "right", {"pad_token": PAD, "unk_token": UNK}, library]

    def save(self, folder: Path) -> None:
        """In Hugging Face layout."""
        self.library.no_truncation()
        self.library.save(str(folder / self.FILE))
        settings = _OF_TRANSFORMERS | {"pad_token": PAD, "unk_token": UNK}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")

    def located(self, text: str, max_length: int) -> tuple[Tokenized, Sequence[tuple[int, int]]]:
        self.library.enable_truncation(max_length)
        read = self.library.encode(text)
        return Tokenized([read.ids]), read.offsets


def recipe() -> str:
    """How texts are cut into words, before any word is known."""
    return _untrained().to_str()


@cache
def splitter() -> pre_tokenizers.PreTokenizer:
    """Cuts texts into words."""
    return _untrained().pre_tokenizer


def _untrained() -> tokenizers.Tokenizer:
    library = tokenizers.Tokenizer(models.WordLevel(unk_token=UNK))
    camel_case = normalizers.Replace(Regex(r"(?<=[a-z0-9])(?=[A-Z])"), " ")
    library.normalizer = normalizers.Sequence([normalizers.NFKC(), camel_case, normalizers.Lowercase()])
    unspaced = "".join(rf"\p{{{script}}}" for script in _UNSPACED)
    words = rf"[{unspaced}&&\p{{L}}]\p{{M}}*|[\p{{L}}\p{{M}}&&[^{unspaced}]]+|\p{{N}}+"
    library.pre_tokenizer = pre_tokenizers.Split(Regex(words), behavior="removed", invert=True)
    return library


def frequent_words(token_ids: NDArray[np.integer], limit: int, min_frequency: int) -> int:
    """How many ids there are up to the last one that stands among these tokens `min_frequency` times, `limit` at most.

    token_ids: of a `WordTokenizer`.
    """
    frequent = np.flatnonzero(np.bincount(token_ids) >= min_frequency)
    return min(limit, max(NUM_SPECIAL, int(frequent.max(initial=0)) + 1))


def scripts_of(words: Iterable[str]) -> Counter[str]:
    """How many of these words begin in each script, by the name that Unicode gives its characters."""
    names = (unicodedata.name(word[0], "").partition(" ")[0].capitalize() for word in words if word[:1].isalpha())
    return Counter(name.replace("Cjk", "Han").partition("-")[0] for name in names if name)
