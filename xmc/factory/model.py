"""From configuration to the parts of a model: what each is built for."""

from torch import Tensor

from xmc import config as c
from xmc.data.batches import Batches
from xmc.data.corpus import Corpus
from xmc.factory.data import build_batches
from xmc.model.encoder import Encoder
from xmc.model.intermediate import Identity, Linear
from xmc.model.lexical import LexicalHalf
from xmc.parts.encoder import EncoderSite
from xmc.parts.intermediate import IntermediateSite
from xmc.parts.lexical import HalfSite
from xmc.sparsity.topology import init_index

# Numbers of rows that draw random connections, beyond any label's.
INNER_ROWS = 1 << 40
_ENCODER_ROWS = 1 << 41


class Connections:
    """Random first connections for one layer after the other, each of rows of its own."""

    def __init__(self, seed: int, first_row: int) -> None:
        self._seed = seed
        self._row = first_row

    def __call__(self, outputs: int, fan_in: int, inputs: int) -> Tensor:
        index = init_index(outputs, fan_in, inputs, self._seed, offset=self._row)
        self._row += outputs
        return index


def build_encoder(config: c.TrainConfig, corpus: Corpus) -> Encoder:
    """corpus: whose training documents it will read."""
    return config.encoder.build(
        EncoderSite(
            corpus,
            label_texts=config.trainer.label_texts,
            words_read=config.lexical.words_read,
            transformation=config.sparse_ift.build("encoder"),
            index_of=Connections(config.seed, _ENCODER_ROWS),
            cache=config.data.cache,
            processes=config.data.processes,
            batch_size=config.trainer.batch_size,
        )
    )


def build_intermediate(config: c.TrainConfig, in_features: int) -> Linear | Identity:
    """in_features: of the encoder."""
    connections = Connections(config.seed, INNER_ROWS)
    site = IntermediateSite(in_features, config.sparse_ift.build("intermediate"), connections)
    return config.intermediate.build(site)


def build_lexical_half(config: c.TrainConfig, encoder: Encoder, corpus: Corpus) -> LexicalHalf | None:
    """The half of a run, learned on the training documents, with coefficients of no dev data; None where it has none.

    encoder: whose tokens it reads.
    """

    def batches(taught: Corpus) -> Batches:
        return build_batches(config, taught, "train", encoder, config.trainer.batch_size)

    return config.lexical.learn(HalfSite(encoder, corpus, batches, config.seed))
