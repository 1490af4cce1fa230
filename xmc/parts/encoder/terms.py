"""A bag over the terms of the training texts."""

from typing import TYPE_CHECKING

from xmc.parts.encoder import Bag, EncoderSite

if TYPE_CHECKING:
    from xmc.model.bag import BagModel
    from xmc.tokenizer import Tokenizer


def build_bag(
    bag: Bag,
    tokenizer: "Tokenizer",
    site: EncoderSite,
    max_length: int,
    embedded: tuple[int, int] | None = None,
) -> "BagModel":
    """A bag over the tokens of the training texts and their bigrams.

    embedded: of the words at most so many, which stand so often, have an embedding; None: all have.
    """
    import numpy as np

    from xmc.model.bag import BagConfig, BagModel, frequent_bigrams
    from xmc.model.word_tokenizer import UNKNOWN, frequent_words

    batches = site.batches(tokenizer, max_length)
    ids, offsets = batches.flat_tokens()
    words = len(tokenizer)
    if embedded is not None:
        most, frequency = embedded
        words = frequent_words(ids, min(words, most), frequency)
        ids = np.where(ids < words, ids, UNKNOWN)
    bigrams = frequent_bigrams(ids, offsets, words, bag.bigrams, bag.min_documents)
    model = BagModel(
        BagConfig(
            vocab_size=len(tokenizer),
            num_words=words,
            num_bigrams=len(bigrams),
            hidden_size=bag.width,
            intermediate_size=bag.mlp_width,
            term_dropout=bag.term_dropout,
        )
    )
    model.learn_terms(bigrams, ((batch.input_ids, batch.attention_mask) for batch in batches.by_length()))
    model.idf[list(tokenizer.special_ids)] = 0  # such as [CLS], which every text has
    return model
