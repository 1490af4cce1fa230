"""From configuration to texts, tokens and batches."""

from pathlib import Path

from xmc import config as c
from xmc.data import (
    Batches,
    Corpus,
    cut_dev,
    read_annif,
    read_lightxml,
    read_pecos,
    read_pydoc,
    read_repository,
    read_table,
    tokenize,
)
from xmc.model.encoder import Encoder


def load_corpus(config: c.TrainConfig) -> Corpus:
    """Read the data named in the configuration and cut a dev split where there is none and one is wanted."""
    return cut_dev(_read(config.data), config.data.dev_fraction, seed=0)


def _read(data: c.DataSection) -> Corpus:
    cache = cache_folder(data)
    match data:
        case c.PydocData():
            return read_pydoc(data.packages)
        case c.LightXMLData():
            return read_lightxml(data.root, raw=data.raw, on_error=data.on_error, cache_dir=cache)
        case c.PecosData():
            return read_pecos(data.root, on_error=data.on_error, cache_dir=cache)
        case c.AnnifData():
            return read_annif(
                data.root, files=data.files, vocabulary=data.vocabulary, on_error=data.on_error, cache_dir=cache
            )
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
                files=data.files,
                label_separator=data.label_separator,
                text_separator=data.text_separator,
                cache_dir=cache,
            )
    raise TypeError(f"no reader for {type(data).__name__}")


def text_fields(config: c.TrainConfig) -> tuple[str, ...]:
    """Fields that make up a document's text."""
    return config.data.text_fields if isinstance(config.data, c.TableData | c.RepositoryData) else ("text",)


def build_batches(config: c.TrainConfig, corpus: Corpus, split: str, encoder: Encoder, batch_size: int) -> Batches:
    """Batches of a split, its texts tokenised on first use."""
    documents = corpus.split(split)
    tokens = tokenize(
        documents, encoder.tokenizer, encoder.max_length, cache_folder(config.data), config.data.processes
    )
    pad = encoder.tokenizer.pad_token_id
    return Batches(tokens, documents.labels, 0 if pad is None else pad, batch_size, config.seed)


def cache_folder(data: c.DataSection) -> Path:
    return Path(data.cache_dir).expanduser()
