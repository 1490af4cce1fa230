"""From configuration to texts, tokens and batches."""

from xmc import config as c
from xmc.data.batches import Batches
from xmc.data.corpus import Corpus, cut_dev, mixed
from xmc.data.formats import DataSection
from xmc.data.tokens import tokenize
from xmc.distributed import ALONE, Processes
from xmc.model.encoder import Encoder


def load_corpus(config: c.TrainConfig) -> Corpus:
    """Read the data named in the configuration, and mix in the old documents that a run replays."""
    corpus = with_dev(config.data)
    if isinstance(config, c.FinetuneConfig) and config.replay is not None:
        for number, section in enumerate(config.old_data):
            corpus = mixed(corpus, with_dev(section), config.replay_fraction, mark=f"replay{number}:")
    return corpus


def with_dev(data: DataSection) -> Corpus:
    """Read the data and cut a dev split where there is none and one is wanted."""
    return cut_dev(data.load(), data.dev_fraction, seed=0)


def build_batches(
    config: c.TrainConfig,
    corpus: Corpus,
    split: str,
    encoder: Encoder,
    batch_size: int,
    processes: Processes = ALONE,
) -> Batches:
    """Batches of a split, its texts tokenised on first use. processes: that have a part of each batch."""
    documents, data = corpus.split(split), config.data
    tokens = tokenize(documents, encoder.tokenizer, encoder.max_length, data.cache, data.processes)
    return Batches(tokens, documents.labels, encoder.tokenizer.pad_id, batch_size, config.seed, processes.part)
