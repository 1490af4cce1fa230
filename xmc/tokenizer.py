"""What an encoder asks of its tokenizer."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple


class Tokenized(NamedTuple):
    """Of each text the ids of its tokens and, of sparse features, their values."""

    ids: Sequence[Sequence[int]]
    values: Sequence[Sequence[float]] | None = None


class Tokenizer(ABC):
    """Texts to token ids.

    has_values: whether it gives values besides. num_special: tokens that it puts around each text. pad_id: fills a
    batch on the right, behind the attention mask. special_ids: of tokens that are no part of a text.
    """

    has_values: ClassVar[bool] = False
    pad_id: int = 0

    @property
    def num_special(self) -> int:
        return 0

    @property
    def special_ids(self) -> Sequence[int]:
        return ()

    @abstractmethod
    def __call__(self, texts: Sequence[str], max_length: int) -> Tokenized:
        """At most `max_length` tokens of each text, special ones among them."""

    @abstractmethod
    def __len__(self) -> int:
        """How many ids there are."""

    @property
    def vocabulary(self) -> Mapping[str, int]:
        """The id of each token, where these are known."""
        return {}

    @property
    @abstractmethod
    def content(self) -> Any:
        """What decides its output, for `fingerprint`: the same wherever it was loaded from."""

    @property
    def fingerprint(self) -> str:
        """A hash of its content."""
        content = json.dumps(self.content, sort_keys=True, default=str)
        return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write it into a folder that is there."""

    @abstractmethod
    def located(self, text: str, max_length: int) -> tuple[Tokenized, Sequence[tuple[int, int]]]:
        """What a call gives of one text, and where in it each token begins and ends, which is the same of special ones.

        Raises:
            XMCError: the tokenizer does not tell.
        """
