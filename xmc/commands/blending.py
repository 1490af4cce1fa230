"""Several models of the same labels made one."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix

from xmc import build
from xmc.commands.measuring import report_of
from xmc.commands.run_folder import check_run_folder, corpus_of, half_for, held, load_model, save_model, write_json
from xmc.config import NEIGHBOURS, BlendConfig, FinetuneConfig, TrainConfig, run_config_path, to_yaml
from xmc.data import Corpus, Split, read_scores
from xmc.data.files import listing
from xmc.evaluate import Report
from xmc.evaluate.blending import fit_weights
from xmc.evaluate.metrics import leave_out
from xmc.model import DEPTH, Blend, Member, NearestDocuments, Neighbours, ScoreFiles, XMCModel
from xmc.predict import most_left_out, rank_by_blend, without
from xmc.storage import whole_file
from xmc.types import TopK, XMCError

logger = logging.getLogger(__name__)

_FITTED = 20_000  # dev documents, at most, that the weights are fitted to
_KS = (1, 3, 5)
_SHOWN = (*(f"P@{k}" for k in _KS), "nDCG@5", *(f"PSP@{k}" for k in _KS))
_MEMBERS = "members-dev.json"


def blend_runs(config: BlendConfig, trained: Mapping[str, TrainConfig]) -> None:
    """Fit the weights of several rankings to dev and save them as one model in `<run>/model`.

    Beside it lie `metrics-dev.json` of the blend, `members-dev.json` with weight and metrics of each ranking, and the
    configuration of the first run, which says how documents are read. trained: of each run, by its folder.

    Raises:
        XMCError: the runs do not belong together, dev or a model is not there, or scores are not those of dev.
    """
    run = Path(config.run)
    device = build.prepare_machine(config.device, config.threads)
    with held(run):
        check_run_folder(run)
        first = _checked_data(trained)
        models = {folder: load_model(Path(folder), device) for folder in trained}
        _check_labels(models)
        model = next(iter(models.values()))
        corpus = corpus_of(model, first)
        if "dev" not in corpus.splits:
            raise XMCError(f"{first.run} has no dev split (data.dev_fraction=0) to fit weights to; give data with one")
        dev = corpus.split("dev")
        with ExitStack() as halves:
            for folder, of_run in models.items():
                halves.enter_context(half_for("dev", of_run, Path(folder)))
            members, rankings = _members(config, models, corpus, first)
        weights = fit_weights(*_fitted_to(rankings, dev))
        members = [replace(member, weight=weight) for member, weight in zip(members, weights, strict=True)]
        blend = Blend([member for member in members if member.weight > 0], model.label_ids, model.label_names)
        given = {member.name: top for member, top in zip(members, rankings, strict=True)}
        top = rank_by_blend(blend, dev.texts, max(*first.metrics.ks, *_KS), dev.filter, given, config.batch_size)
        metrics = first.metrics.model_copy(update={"ks": _KS})
        alone = [report_of(_alone(ranking, dev), corpus, "dev", metrics) for ranking in rankings]
        with whole_file(run_config_path(run)) as out:
            out.write(to_yaml(first.model_copy(update={"run": config.run, "resume": False})))
        write_json(run / "metrics-dev.json", report_of(top, corpus, "dev", first.metrics).to_dict())
        write_json(run / _MEMBERS, _recorded(members, alone))
        save_model(blend, run / "model")
    print(_table(members, alone, report_of(top, corpus, "dev", metrics)))


def _checked_data(trained: Mapping[str, TrainConfig]) -> TrainConfig:
    """The configuration of the first run. Raises XMCError where another has learned from other data."""
    (first, config), *others = trained.items()
    for folder, other in others:
        one, two = _data_of(config), _data_of(other)
        if wrong := [key for key in {**one, **two} if one.get(key) != two.get(key)]:
            told = "; ".join(f"data.{key}: {one.get(key)!r:.80} and {two.get(key)!r:.80}" for key in wrong)
            raise XMCError(
                f"{first} and {folder} have other data ({told}); blend runs of the same, and where it has moved since, "
                "say to where: data.root=..."
            )
    return config


def _data_of(config: TrainConfig) -> dict[str, Any]:
    """What decides which documents a run has, and how they are read."""
    values = config.data.model_dump(mode="json", exclude={"cache_dir", "processes"})
    if isinstance(config, FinetuneConfig) and config.replay is not None:
        values |= config.model_dump(mode="json", include={"replay", "replay_fraction", "old_data"})
    return values


def _check_labels(models: Mapping[str, XMCModel]) -> None:
    (first, model), *others = models.items()
    for folder, other in others:
        if other.label_ids != model.label_ids:
            one, two = set(model.label_ids), set(other.label_ids)
            told = f"one of them alone has {listing(one ^ two, 5)}" if one != two else "in another order"
            raise XMCError(f"{first} and {folder} have other labels ({told}); blend runs of the same labels")


def _members(
    config: BlendConfig, models: Mapping[str, XMCModel], corpus: Corpus, trained: TrainConfig
) -> tuple[list[Member], list[TopK]]:
    """The rankings that are asked for, and what each gives for dev."""
    dev, label_ids = corpus.split("dev"), next(iter(models.values())).label_ids
    depth = DEPTH + most_left_out(dev.filter)
    files = {name: ScoreFiles(files.given()) for name, files in config.scores.items()}
    if missing := [path for of in files.values() for path in of.files.values() if not Path(path).is_file()]:
        raise XMCError(f"scores: there is no file {listing(missing)}")
    read = {name: read_scores(of.files["dev"], dev.ids, label_ids, depth) for name, of in files.items()}
    members = [Member(config.name_of(folder), 1.0, models[folder]) for folder in config.runs]
    for name, top in read.items():
        members.append(Member(name, 1.0, replace(files[name], scale=1 / max(1.0, float(top.scores.max())))))
    if config.neighbours is not None:
        documents = _nearest_documents(config, models[config.neighbours], corpus, trained)
        members.append(Member(NEIGHBOURS, 1.0, documents))
    rankings = []
    for member in members:
        logger.info("dev by %s", member.name)
        if isinstance(member.ranker, ScoreFiles):
            rankings.append(member.ranker.scaled(read[member.name]))
        else:
            rankings.append(member.ranker.ranking(dev.texts, depth, config.batch_size))
    return members, rankings


@torch.no_grad()
def _nearest_documents(config: BlendConfig, model: XMCModel, corpus: Corpus, trained: TrainConfig) -> NearestDocuments:
    """The training documents in the features of a model."""
    labels = corpus.split("train").labels
    offsets, carried = (torch.from_numpy(part.astype(np.int64)) for part in (labels.indptr, labels.indices))
    width = model.classifier.in_features
    neighbours = Neighbours.empty(labels.shape[0], width, offsets, carried, config.nearest)
    batches = build.build_batches(trained, corpus, "train", model.encoder, config.batch_size)
    for batch in batches.by_length():
        moved = batch.to(model.device)
        neighbours.put_(batch.rows, model.features(moved.input_ids, moved.attention_mask, moved.values))
    return NearestDocuments(model, neighbours)


def _fitted_to(rankings: Sequence[TopK], dev: Split) -> tuple[list[tuple[Any, Any]], csr_matrix]:
    """What the weights are fitted to: lists of labels and scores, and truth, of drawn documents where dev has many."""
    chosen = np.sort(np.random.default_rng(0).permutation(len(dev))[:_FITTED])
    if len(chosen) < len(dev):
        logger.info("weights are fitted to %d of %d dev documents", len(chosen), len(dev))
    lists, truth = [], dev.labels
    if (pairs := dev.filter_pairs) is not None:
        truth = csr_matrix(leave_out(rankings[0].labels.numpy(), truth, pairs)[1])
    for top in (_alone(ranking, dev) for ranking in rankings):
        lists.append((top.labels.numpy()[chosen], top.scores.numpy()[chosen]))
    return lists, truth[chosen]


def _alone(ranking: TopK, documents: Split) -> TopK:
    """The ranking without the labels that evaluation leaves out."""
    return ranking if documents.filter is None else without(ranking, documents.filter, DEPTH)


def _recorded(members: Sequence[Member], alone: Sequence[Report]) -> list[dict[str, Any]]:
    """As plain JSON values."""
    pairs = zip(members, alone, strict=True)
    return [{"name": one.name, "weight": one.weight, "metrics": dict(report.metrics)} for one, report in pairs]


def _table(members: Sequence[Member], alone: Sequence[Report], blend: Report) -> str:
    """Each ranking's weight and its figures on dev, in percent, then the blend's, and what it costs rare labels."""
    rows = [(one.name, f"{one.weight:.3f}", report) for one, report in zip(members, alone, strict=True)]
    width = max(len("blend"), *(len(name) for name, _, _ in rows))
    lines = [f"{'dev':<{width}}{'weight':>8}" + "".join(f"{metric:>8}" for metric in _SHOWN)]
    for name, weight, report in [*rows, ("blend", "", blend)]:
        lines.append(f"{name:<{width}}{weight:>8}" + "".join(f"{100 * report[metric]:8.2f}" for metric in _SHOWN))
    best, _, best_alone = max(rows, key=lambda row: row[2]["nDCG@5"])
    changes = (f"{name} {100 * (blend[name] - best_alone[name]):+.2f}" for name in _SHOWN if name.startswith("PSP"))
    return "\n".join([*lines, f"the blend against {best}, the best alone: {', '.join(changes)}"])
