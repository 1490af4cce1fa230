"""From configuration to texts, tokens and batches."""

from pathlib import Path

from xmc import config as c
from xmc.data import Batches, Corpus, cut_dev, read_lightxml, read_pydoc, read_table, tokenize
from xmc.model.encoder import Encoder


def load_corpus(config: c.TrainConfig) -> Corpus:
    """Read the data named in the configuration and cut a dev split where there is none and one is wanted."""
    data = config.data
    if isinstance(data, c.PydocData):
        corpus = read_pydoc(data.packages)
    elif isinstance(data, c.LightXMLData):
        corpus = read_lightxml(data.root, cache_dir=cache_folder(data))
    else:
        corpus = read_table(
            data.root,
            data.text_fields,
            data.label_field,
            data.id_field,
            files=data.files,
            label_separator=data.label_separator,
            text_separator=data.text_separator,
            cache_dir=cache_folder(data),
        )
    return cut_dev(corpus, data.dev_fraction, seed=0)


def text_fields(config: c.TrainConfig) -> tuple[str, ...]:
    """Fields that make up a document's text."""
    return config.data.text_fields if isinstance(config.data, c.TableData) else ("text",)


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
