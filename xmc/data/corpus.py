"""A corpus: the texts and label sets of every split over one label vocabulary."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from xmc.errors import XMCError
from xmc.strings import Strings

if TYPE_CHECKING:
    from datasets import Dataset

_CHUNK = 1000


class ArrowTexts(Sequence[str]):
    """The column `text` of a memory-mapped data set, read when asked for."""

    def __init__(self, dataset: "Dataset") -> None:
        self.dataset = dataset.select_columns("text")

    def __len__(self) -> int:
        return len(self.dataset)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        return self.dataset[index]["text"]

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _CHUNK):
            yield from self[start : start + _CHUNK]

    def select(self, rows: Sequence[int]) -> "ArrowTexts":
        return ArrowTexts(self.dataset.select(rows))

    def followed_by(self, texts: Sequence[str]) -> "ArrowTexts":
        """These texts, then those."""
        from datasets import Dataset, concatenate_datasets

        more = texts.dataset if isinstance(texts, ArrowTexts) else Dataset(pa.table({"text": Strings(texts).column}))
        return ArrowTexts(concatenate_datasets([self.dataset, more]))


@dataclass(frozen=True)
class Split:
    """N documents. ids: unique. texts: a list or read from disk when asked for. labels: float32 CSR [N, L] of ones.

    filter: CSR [N, L] of ones, the labels that evaluation leaves out of a document's truth and prediction. parts: whose
    documents these are, one after another; none where it was not joined.
    """

    ids: Sequence[str]
    texts: Sequence[str]
    labels: csr_matrix
    filter: csr_matrix | None = None
    parts: tuple["Split", ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def filter_pairs(self) -> NDArray[np.integer] | None:
        """The filter as pairs of a row and a label, [P, 2]; None where there is none."""
        return None if self.filter is None else np.column_stack(self.filter.nonzero())

    @cached_property
    def fingerprint(self) -> str:
        """Hash of ids, texts, labels and filter: equal for equal contents, whatever holds them."""
        digest = hashlib.blake2b(digest_size=16)
        for values in (self.ids, self.texts):
            for start in range(0, len(values), _CHUNK):
                encoded = [value.encode("utf-8", "surrogatepass") for value in values[start : start + _CHUNK]]
                digest.update(np.array([len(value) for value in encoded], dtype="<i8").tobytes())
                digest.update(b"".join(encoded))
        digest.update(repr(self.labels.shape).encode())
        for matrix in (self.labels,) if self.filter is None else (self.labels, self.filter):
            digest.update(matrix.indptr.astype("<i8").tobytes())
            digest.update(matrix.indices.astype("<i8").tobytes())
        return digest.hexdigest()

    def select(self, rows: Sequence[int]) -> "Split":
        """The documents of these rows, in this order."""
        texts = self.texts
        chosen = texts.select(rows) if isinstance(texts, ArrowTexts) else [texts[row] for row in rows]
        filter = None if self.filter is None else self.filter[rows]
        return Split([self.ids[row] for row in rows], chosen, self.labels[rows], filter)

    def followed_by(self, others: "Split") -> "Split":
        """These documents, then those."""
        left_out = None
        if self.filter is not None or others.filter is not None:
            left_out = vstack([s.labels * 0 if s.filter is None else s.filter for s in (self, others)], format="csr")
            left_out.eliminate_zeros()
        labels, texts = vstack([self.labels, others.labels], format="csr"), self.texts
        both = texts.followed_by(others.texts) if isinstance(texts, ArrowTexts) else [*texts, *others.texts]
        parts = (*(self.parts or (self,)), *(others.parts or (others,)))
        return Split(Strings(chain(self.ids, others.ids)), both, labels, left_out, parts)


@dataclass(frozen=True)
class Corpus:
    """Splits (always train; dev and test where there are any) over one vocabulary of L labels.

    num_features: the texts are rows `feature:value ...` of so many sparse features; None: they are texts.
    dev_was_cut: dev are documents that `cut_dev` has taken out of train. parents: of labels those directly above them,
    which documents with the label have too; ids, which need not be among the labels.
    """

    name: str
    splits: Mapping[str, Split]
    label_ids: Sequence[str]
    label_names: Sequence[str]
    num_features: int | None = None
    dev_was_cut: bool = False
    parents: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the vocabulary and of every split."""
        digest = hashlib.blake2b(digest_size=16)
        for part in (self.label_ids, self.label_names):
            for start in range(0, len(part), _CHUNK):
                digest.update((", " if start else "[").encode())
                digest.update(", ".join(map(repr, part[start : start + _CHUNK])).encode())
            digest.update(b"]")
        for name in sorted(self.splits):
            digest.update(f"{name}:{self.splits[name].fingerprint}".encode())
        if self.parents:
            digest.update(repr(sorted((label, sorted(above)) for label, above in self.parents.items())).encode())
        if self.num_features is not None:
            digest.update(f"features:{self.num_features}".encode())
        return digest.hexdigest()

    def over(self, label_ids: Sequence[str], label_names: Sequence[str]) -> "Corpus":
        """The same documents over another vocabulary; labels that it lacks go."""
        if label_ids == self.label_ids:
            return self
        place = {label: column for column, label in enumerate(label_ids)}
        columns = np.array([place.get(label, -1) for label in self.label_ids])

        def moved(matrix: csr_matrix) -> csr_matrix:
            rows, labels = matrix.nonzero()
            labels = columns[labels]
            kept = labels >= 0
            pairs = (rows[kept], labels[kept])
            return csr_matrix((np.ones(len(pairs[0]), np.float32), pairs), shape=(matrix.shape[0], len(label_ids)))

        splits = {
            name: replace(
                split, labels=moved(split.labels), filter=None if split.filter is None else moved(split.filter)
            )
            for name, split in self.splits.items()
        }
        return replace(self, splits=splits, label_ids=label_ids, label_names=label_names)

    def names_told(self) -> str:
        """In words: how many labels are called otherwise than by their ids."""
        named = pc.not_equal(Strings(self.label_names).column, Strings(self.label_ids).column)
        found = pc.sum(named).as_py() or 0
        return "all have names" if found == len(named) else f"{found:,} have names" if found else "no names, ids alone"

    def with_label_texts(self) -> "Corpus":
        """Each label's name, where it has a letter, is one more training document of that label."""
        names, label_ids = Strings(self.label_names).column, Strings(self.label_ids).column
        has_letter = pc.match_substring_regex(names, r"\p{L}")
        named = np.flatnonzero(has_letter.to_numpy())
        labels = csr_matrix(
            (np.ones(len(named), np.float32), (np.arange(len(named)), named)), shape=(len(named), len(label_ids))
        )
        ids = pc.binary_join_element_wise("label", label_ids.filter(has_letter), ":")
        return self._learning_from(Split(Strings(ids), Strings(names.filter(has_letter)), labels))

    def with_cut_dev_in_train(self) -> "Corpus":
        """A corpus that learns from what was cut from train, too."""
        return self._learning_from(self.split("dev")) if self.dev_was_cut else self

    def _learning_from(self, more: Split) -> "Corpus":
        return replace(self, splits={**self.splits, "train": self.split("train").followed_by(more)})

    def label_counts(self, split: str) -> np.ndarray:
        """Documents of the split that carry each label, int64 [L]."""
        return np.bincount(self.split(split).labels.indices, minlength=len(self.label_ids))

    def split(self, name: str) -> Split:
        """The split of that name; XMCError where the corpus has none."""
        if name not in self.splits:
            raise XMCError(f"{self.name} has no split {name!r}; it has: {', '.join(self.splits)}")
        return self.splits[name]


def uniform_hash(text: str, seed: int) -> float:
    """A number in [0, 1) that depends on nothing but `text` and `seed`."""
    digest = hashlib.blake2b(f"{seed}:{text}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def cut_dev(corpus: Corpus, fraction: float, seed: int) -> Corpus:
    """`corpus` with a dev split: its own, or about that fraction of train, chosen by a hash of each document's id.

    A fraction of 0 cuts nothing: all of train is trained on.

    The choice is independent of the order of the documents, and of what else is in the corpus.
    """
    if "dev" in corpus.splits or fraction == 0:
        return corpus
    if not 0 < fraction < 1:
        raise XMCError(f"a dev fraction of {fraction} is not in [0, 1): {corpus.name} has no dev split of its own")
    train = corpus.split("train")
    in_dev = np.array([uniform_hash(f"dev:{id_}", seed) < fraction for id_ in train.ids], dtype=bool)
    if in_dev.all() or not in_dev.any():
        raise XMCError(
            f"{corpus.name}: {fraction:.2%} of {len(train)} training documents leave dev or train empty; "
            "choose another dev fraction, or provide a dev split"
        )
    dev, rest = (train.select(np.flatnonzero(chosen).tolist()) for chosen in (in_dev, ~in_dev))
    ordered = {"train": rest, "dev": dev, **{name: part for name, part in corpus.splits.items() if name != "train"}}
    return replace(corpus, splits=ordered, dev_was_cut=True)


def mixed(corpus: Corpus, old: Corpus, fraction: float, mark: str) -> Corpus:
    """Old documents among new ones, so that a model that goes on learning does not forget: those of `corpus` and behind
    them, split by split, a fraction of those of `old`, over the labels of both.

    The fraction is chosen by a hash of each document's id. mark: stands before the ids of old documents.

    Raises:
        XMCError: the two have not the same kind of documents, or nothing is left of the old training documents.
    """
    if corpus.num_features != old.num_features:
        kinds = ["texts" if c.num_features is None else f"{c.num_features} features" for c in (corpus, old)]
        raise XMCError(f"{corpus.name} holds {kinds[0]} and {old.name} {kinds[1]}; mix data of one kind")
    known = set(corpus.label_ids)
    more = [(label, name) for label, name in zip(old.label_ids, old.label_names, strict=True) if label not in known]
    ids, names = [*corpus.label_ids, *(label for label, _ in more)], [*corpus.label_names, *(name for _, name in more)]
    splits = dict(corpus.over(ids, names).splits)
    for name, split in old.over(ids, names).splits.items():
        chosen = [row for row, id_ in enumerate(split.ids) if uniform_hash(f"{mark}{id_}", 0) < fraction]
        if name == "train" and not chosen:
            raise XMCError(f"replay_fraction={fraction} of {len(split)} documents of {old.name} is none; give more")
        marked = split if len(chosen) == len(split) else split.select(chosen)
        marked = Split([f"{mark}{id_}" for id_ in marked.ids], marked.texts, marked.labels, marked.filter)
        splits[name] = splits[name].followed_by(marked) if name in splits else marked
    parents = {**old.parents, **corpus.parents}
    cut = corpus.dev_was_cut and old.dev_was_cut
    return Corpus(f"{corpus.name} and {old.name}", splits, ids, names, corpus.num_features, cut, parents)
