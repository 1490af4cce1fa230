"""What a run that fine-tunes takes over from a trained model, and what it leaves there."""

import hashlib
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from xmc import config as c
from xmc.config.shell import shell_command
from xmc.data.batches import Batches
from xmc.data.corpus import Corpus
from xmc.errors import XMCError
from xmc.model import XMCModel
from xmc.model.classifier import Classifier, FixedFanIn, LinearClassifier
from xmc.model.encoder import Encoder
from xmc.model.intermediate import Identity, Linear
from xmc.model.label_space import joined, selected, shares_connections, sparse_labels
from xmc.model.saved import CARD
from xmc.parts.classifier import CLASSIFIER
from xmc.parts.encoder import ENCODER
from xmc.parts.intermediate import INTERMEDIATE
from xmc.parts.sparse_ift import SPARSE_IFT, Layer
from xmc.registry import Registry
from xmc.sparsity.topology import absent_columns
from xmc.train.new_rows import Recipe, new_rows
from xmc.types import Positives

logger = logging.getLogger(__name__)

Settings = dict[str, object]


def model_folder(folder: str | Path) -> Path:
    """The model of a finished run, or the folder itself where it is a saved model.

    Raises:
        XMCError: it holds neither.
    """
    found = [path for path in (Path(folder), Path(folder) / "model") if (path / CARD).is_file()]
    if found:
        return found[0]
    if c.run_config_path(folder).is_file():
        go_on = shell_command("train", run=str(folder), resume=True)
        end = shell_command("train", run=str(folder), finish="now")
        raise XMCError(f"{folder} has no finished model; go on with: {go_on}, or take its best so far with: {end}")
    raise XMCError(
        f"{folder} holds no model ({CARD} is missing); give the folder of a finished run or of a saved model"
    )


def load_source(folder: str | Path) -> XMCModel:
    """A trained model whose labels can be taken over one by one.

    Raises:
        XMCError: there is none, or its labels share their connections.
    """
    model = XMCModel.from_pretrained(model_folder(folder))
    if shares_connections(model.classifier):
        raise XMCError(
            f"the labels of {folder} share their connections in groups, from which none can leave and which none can "
            "join; start from a model of `xmc train classifier.group_size=1`"
        )
    return model


def inherited_settings(folder: str) -> Settings:
    """The choices and keys of the configuration that the trained model decides."""
    model = load_source(folder)
    encoder, layer = model.encoder, model.intermediate
    settings: Settings = {"loss": model.loss, "trainer.logit_adjustment": model.logit_adjustment}
    settings |= _of_its_kind(INTERMEDIATE, layer)
    settings |= _of_its_kind(ENCODER, encoder, str((model_folder(folder) / "encoder").absolute()))
    settings |= _of_its_kind(CLASSIFIER, model.classifier)
    sparse: dict[Layer, Any] = {"intermediate": getattr(layer, "transformation", None)}
    return settings | _of_its_kind(SPARSE_IFT, sparse | {"encoder": encoder.transformation})


def _of_its_kind(registry: Registry[Any], *trained: object) -> Settings:
    """The choice with which a trained part comes about, and its keys."""
    for section in registry.sections():
        if (keys := section.inherited(*trained)) is not None:
            kind = {registry.group: section.model_fields["kind"].default}
            return kind | {f"{registry.group}.{key}": value for key, value in keys.items()}
    raise XMCError(f"no {registry.group} is known that makes the one of the model; install the package that has it")


def source_fingerprint(folder: str) -> str:
    """Hash of the files of a trained model."""
    digest = hashlib.sha256()
    for path in sorted(model_folder(folder).rglob("*")):
        if path.is_file():
            with open(path, "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def prepared_parts(config: c.TrainConfig, corpus: Corpus, source: XMCModel) -> tuple[Encoder, Linear | Identity]:
    """The trained encoder and intermediate layer under the dropouts and the freezing of this run."""
    trained = source.encoder
    if corpus.num_features not in (None, len(trained.tokenizer)):
        raise XMCError(
            f"{corpus.name} has {corpus.num_features} features, the model reads {len(trained.tokenizer)}; fine-tune it "
            "on data of the same features"
        )
    return config.encoder.adopt(trained), config.intermediate.adopt(source.intermediate)


def with_learned_rows(fresh: Classifier, source: XMCModel, label_ids: Sequence[str]) -> tuple[Classifier, Tensor]:
    """`fresh` with the rows of the source where it knows the label, and which labels these are, bool [L]."""
    place = {label: row for row, label in enumerate(source.label_ids)}
    rows = torch.tensor([place.get(label, -1) for label in label_ids])
    if (mine := fresh.sparse) is not None and (theirs := source.classifier.sparse) is not None:
        _fit_slots(theirs, mine)
    known = rows >= 0
    labels = torch.where(known, rows + fresh.num_labels, torch.arange(fresh.num_labels))
    return selected(joined(fresh, source.classifier), labels), known


@torch.no_grad()
def learn_new_rows_(model: XMCModel, known: Tensor, batches: Batches, section: c.NewLabels, seed: int) -> None:
    """Learn the rows of the labels that the source lacks, in place, on the features of the source.

    Linear probing before fine-tuning (Kumar et al., ICLR 2022, arXiv 2202.10054): rows that know nothing would distort
    what the encoder and the known rows do. A sparse layer connects each where its gradient is largest. Labels of a
    dense head beside a sparse tail, and all under Top-KAST, whose slots do not all take part, start as in training.

    known: bool [L], the labels with rows of the source. batches: the training documents.
    """
    layer = model.classifier.sparse or model.classifier
    assert isinstance(layer, LinearClassifier)
    if isinstance(layer, FixedFanIn) and layer.active < layer.index.shape[1]:
        return
    labels = sparse_labels(model.classifier) if layer is model.classifier.sparse else torch.arange(layer.num_labels)
    rows = (~known[labels.cpu()]).nonzero().squeeze(1)
    if not section.steps or not len(rows):
        return
    pairs = batches.labels[:, labels.cpu()[rows].numpy()].tocsr()
    documents = _carriers_first(pairs, section.documents, seed)
    features = torch.empty(len(documents), layer.in_features, device=model.device)
    model.eval()
    for batch in batches.by_length(among=documents):
        at = torch.from_numpy(np.searchsorted(documents, batch.rows))
        features[at] = model.features_of(batch).float()
    chosen = pairs[documents].sorted_indices()
    offsets, of_documents = (torch.from_numpy(part.astype(np.int64)) for part in (chosen.indptr, chosen.indices))
    positives = Positives(offsets, of_documents)
    logger.info("%d new labels learn first, on the features of %d documents", len(rows), len(documents))
    recipe = Recipe(section.steps, section.batch_size, section.lr, section.weight_decay, seed)
    learned = new_rows(model.classifier, features, positives.to(model.device), len(rows), model.loss, recipe)
    if model.loss == "bce":
        learned.bias.add_(_prior_shift(pairs, chosen))
    mine = layer.state_dict()
    for name, value in learned.state_dict().items():
        mine[name][rows.to(model.device)] = value.to(mine[name].dtype)


def _carriers_first(pairs: csr_matrix, most: int, seed: int) -> NDArray[np.int64]:
    """At most so many rows of a CSR matrix, ascending; those with an entry before others, which are drawn."""
    order = np.random.default_rng(seed).permutation(pairs.shape[0])
    empty = np.diff(pairs.indptr)[order] == 0
    return np.sort(order[np.argsort(empty, kind="stable")][:most])


def _prior_shift(pairs: csr_matrix, chosen: csr_matrix) -> float:
    """What log-odds learned from the chosen rows lack: of rows without an entry a smaller share is among them.

    King and Zeng, Logistic Regression in Rare Events Data, 2001, section 4.1.
    """
    carriers, taken = (int(np.count_nonzero(np.diff(rows.indptr))) for rows in (pairs, chosen))
    return math.log(chosen.shape[0] / pairs.shape[0] * carriers / max(1, taken)) if carriers else 0.0


def _fit_slots(layer: FixedFanIn, like: FixedFanIn) -> None:
    """As many slots as `like` has, the added ones at random columns, and weights of its type."""
    more = like.index.shape[1] - layer.index.shape[1]
    columns = absent_columns(layer.index, more, layer.in_features, seed=0, step=0)
    weight = torch.cat([layer.weight, layer.weight.new_zeros(layer.num_labels, more)], dim=1)
    layer.index, layer.weight = torch.cat([layer.index, columns], dim=1), nn.Parameter(weight.to(like.weight.dtype))


def learned_part(corpus: Corpus, source: XMCModel) -> Corpus:
    """The corpus over the labels that its training documents carry or that the source lacks; the others stay as they
    are in the source."""
    counts, known = corpus.label_counts("train"), set(source.label_ids)
    pairs = zip(corpus.label_ids, corpus.label_names, counts, strict=True)
    kept = [(label, name) for label, name, count in pairs if count or label not in known]
    return corpus.over([label for label, _ in kept], [name for _, name in kept])


def with_kept_labels(model: XMCModel, source: XMCModel) -> XMCModel:
    """The model and, behind its labels, those of the source that it lacks, with their rows; these the lexical half does
    not know."""
    mine = set(model.label_ids)
    rows = [row for row, label in enumerate(source.label_ids) if label not in mine]
    labels = torch.cat([torch.arange(len(mine)), torch.tensor(rows, dtype=torch.int64) + len(mine)])
    if (layer := source.classifier.sparse) is not None and model.classifier.sparse is not None:
        _fit_slots(layer, model.classifier.sparse)
    both = joined(model.classifier, source.classifier.to(model.device))
    return XMCModel(
        model.encoder,
        model.intermediate,
        selected(both, labels.to(model.device)),
        label_ids=[*model.label_ids, *(source.label_ids[row] for row in rows)],
        label_names=[*model.label_names, *(source.label_names[row] for row in rows)],
        loss=model.loss,
        logit_adjustment=model.logit_adjustment,
        lexical=model.lexical,
        above=model.above,
    )
