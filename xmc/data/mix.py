"""Old documents among new ones, so that a model that goes on learning does not forget."""

from xmc.data.corpus import Corpus, Split, uniform_hash
from xmc.errors import XMCError


def mixed(corpus: Corpus, old: Corpus, fraction: float, mark: str) -> Corpus:
    """The documents of `corpus` and behind them, split by split, a fraction of those of `old`, over the labels of both.

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
