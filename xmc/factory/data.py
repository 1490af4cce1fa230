"""From configuration to texts, tokens and batches."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xmc import config as c
from xmc.data import (
    PECOS,
    REPOSITORY,
    TABLE,
    Batches,
    Corpus,
    Layout,
    cut_dev,
    mixed,
    prepare,
    read_annif,
    read_bow,
    read_lightxml,
    read_pecos,
    read_pydoc,
    read_repository,
    read_synthetic,
    read_table,
    tokenize,
)
from xmc.errors import XMCError
from xmc.model.encoder import Encoder, pad_id
from xmc.storage import home_expanded


def load_corpus(config: c.TrainConfig) -> Corpus:
    """Read the data named in the configuration, and mix in the old documents that a run replays."""
    corpus = with_dev(config.data)
    if isinstance(config, c.FinetuneConfig) and config.replay is not None:
        for number, section in enumerate(config.old_data):
            corpus = mixed(corpus, with_dev(section), config.replay_fraction, mark=f"replay{number}:")
    return corpus


def with_dev(data: c.DataSection) -> Corpus:
    """Read the data and cut a dev split where there is none and one is wanted."""
    return cut_dev(read_corpus(data), data.dev_fraction, seed=0)


def read_corpus(data: c.DataSection) -> Corpus:
    """Read the data as it is published.

    Raises XMCError for a benchmark set that is not in place, or that counts other than the configuration expects.
    """
    if not isinstance(data, c.BenchmarkData) or data.benchmark is None:
        return _read(data)
    if missing := _layout(data).missing(home_expanded(data.root)):
        names = ", ".join(group[0] for group in missing)
        raise XMCError(f"{data.root} lacks {names} of {data.benchmark.name}; get them with `xmc prepare data=...`")
    corpus = _read(data)
    _check_counts(corpus, data.benchmark, data.root)
    return corpus


def prepare_data(data: c.DataSection) -> None:
    """Download and unpack what a benchmark set lacks; other data is the user's to put in place."""
    if isinstance(data, c.BenchmarkData) and (benchmark := data.benchmark) is not None:
        prepare(data.root, _layout(data), url=benchmark.url, sha256=benchmark.sha256, home=benchmark.home)


def _layout(data: c.BenchmarkData) -> Layout:
    if isinstance(data, c.TableData):
        return TABLE
    return PECOS if isinstance(data, c.PecosData) else REPOSITORY


def _check_counts(corpus: Corpus, benchmark: c.Benchmark, root: str) -> None:
    counts = [
        ("train", "documents", len(corpus.split("train")), benchmark.train),
        ("test", "documents", len(corpus.split("test")), benchmark.test),
        ("the vocabulary", "labels", len(corpus.label_ids), benchmark.labels),
    ]
    wrong = [
        f"{part} has {found:,} {things}, expected {expected:,} ({found - expected:+,})"
        for part, things, found, expected in counts
        if found != expected
    ]
    if wrong:
        raise XMCError(
            f"{root} is not {benchmark.name} as published: {'; '.join(wrong)}. Delete its files and repeat "
            "`xmc prepare`, or read it as it is with data.benchmark=null"
        )


def _read(data: c.DataSection) -> Corpus:
    cache = cache_folder(data)
    match data:
        case c.PydocData():
            return read_pydoc(data.packages)
        case c.SyntheticData():
            shape = data.model_dump(exclude={"kind", *c.DataSection.model_fields})
            return read_synthetic(**shape, cache_dir=cache)
        case c.LightXMLData():
            return read_lightxml(data.root, raw=data.raw, on_error=data.on_error, cache_dir=cache)
        case c.PecosData():
            return read_pecos(data.root, on_error=data.on_error, cache_dir=cache)
        case c.AnnifData():
            return read_annif(
                data.root, files=data.files.given(), vocabulary=data.vocabulary, on_error=data.on_error, cache_dir=cache
            )
        case c.BowData():
            return read_bow(data.root, files=data.files.given(), on_error=data.on_error, cache_dir=cache)
        case c.RepositoryData():
            return read_repository(
                data.root,
                data.text_fields,
                text_separator=data.text_separator,
                id_field=data.id_field,
                on_error=data.on_error,
                cache_dir=cache,
            )
        case c.TableData():
            return read_table(
                data.root,
                data.text_fields,
                data.label_field,
                data.id_field,
                files=data.files.given(),
                label_separator=data.label_separator,
                text_separator=data.text_separator,
                on_error=data.on_error,
                cache_dir=cache,
            )
    raise TypeError(f"no reader for {type(data).__name__}")


@dataclass(frozen=True)
class Fields:
    """Where a document of a table has its text, its id (empty: nowhere) and its labels."""

    text: tuple[str, ...] = ("text",)
    text_separator: str = "\n"
    id: str = "id"
    label: str = "labels"
    label_separator: str = " "

    def but(self, **given: Any) -> "Fields":
        """With what is given instead; None, and no field at all, leave it as it is."""
        return replace(self, **{name: value for name, value in given.items() if value not in (None, ())})


def fields_of(config: c.TrainConfig | None) -> Fields:
    """As the data of the run has them; None: of a model without its run."""
    match config and config.data:
        case c.TableData() as data:
            id_ = data.id_field or Fields.id
            return Fields(data.text_fields, data.text_separator, id_, data.label_field, data.label_separator)
        case c.RepositoryData() as data:
            return Fields(data.text_fields, data.text_separator, data.id_field or Fields.id)
    return Fields()


def build_batches(config: c.TrainConfig, corpus: Corpus, split: str, encoder: Encoder, batch_size: int) -> Batches:
    """Batches of a split, its texts tokenised on first use."""
    documents = corpus.split(split)
    tokens = tokenize(
        documents, encoder.tokenizer, encoder.max_length, cache_folder(config.data), config.data.processes
    )
    return Batches(tokens, documents.labels, pad_id(encoder.tokenizer), batch_size, config.seed)


def cache_folder(data: c.DataSection) -> Path:
    return home_expanded(data.cache_dir)
