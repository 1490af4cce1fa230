"""The sections on how a model came to be: learning curves, connections, topology, time and memory, configuration."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from xmc.run_report.blocks import ABSENT, Cell, Code, Figures, Folded, Note, Number, Paragraph, Section, Table
from xmc.run_report.charts import Line, LineChart, SignPicture, Ticks, line_chart, sign_picture
from xmc.run_report.connections import Connections
from xmc.run_report.facts import Missing, RunFacts
from xmc.run_report.folder import Curve

MIB = 2**20
LINES = 8  # of one figure


@dataclass(frozen=True, slots=True)
class Figure:
    """keys: patterns of the log's keys; the first that a log has is the one that runs are compared by."""

    title: str
    unit: str
    keys: tuple[str, ...]
    percent: bool = False
    zero: bool = False
    logarithmic: bool = False


LEARNING = (
    Figure("Loss", "sum over labels, mean over documents", ("loss", "auxiliary_loss")),
    Figure("Metrics on dev", "percent", ("dev/nDCG@*", "dev/*"), percent=True),
    Figure("Learning rates", "", ("lr/classifier", "lr/*"), logarithmic=True),
    Figure("Gradient norms", "", ("gradient/features", "gradient/*"), logarithmic=True),
    Figure("Speed", "documents a second", ("documents_per_second",), zero=True),
    Figure("Peak memory", "MiB", ("peak_memory_mib",), zero=True),
)
TOPOLOGY = (
    Figure("Turnover", "percent", ("turnover", "changed_rows"), percent=True, zero=True),
    Figure("Age of connections", "steps", ("age_mean", "age_median"), zero=True),
    Figure("Column degrees", "labels, or groups, a feature serves", ("degree_max", "degree_min"), zero=True),
    Figure("Inequality of column degrees", "Gini coefficient", ("degree_gini",), zero=True),
    Figure("Spectral gap", "first minus second singular value", ("spectral_gap", "spectral_gap_ramanujan")),
)


def learning(runs: Sequence[RunFacts]) -> Section:
    """The curves of the log."""
    title = "Learning curves"
    if not any(run.history.curves for run in runs):
        return Section(title, [Missing("The run folder has no log.")])
    note = Note("From the log of training, a point a log line or the mean of several. Memory is the peak so far.")
    return Section(title, [_learning_figures(runs), note])


def connection_map(runs: Sequence[RunFacts]) -> Section:
    """Which features the labels use; of one run, by label frequency and with a block of the index as a picture."""
    title = "Connections"
    there = [(run.name, run.connections) for run in runs if isinstance(run.connections, Connections)]
    reasons = [
        run.connections if len(runs) == 1 else Missing(f"{run.name}: {run.connections.reason}")
        for run in runs
        if isinstance(run.connections, Missing)
    ]
    if not there:
        return Section(title, reasons)
    if len(there) == 1:
        lines = [_usage(name, values) for name, values in there[0][1].usage.items()]
    else:
        lines = [_usage(name, topology.usage["all labels"]) for name, topology in there]
    random = "at random" if len(there) == 1 else f"{there[0][0]} at random"
    lines.append(_usage(random, there[0][1].random, dashed=True))
    use = line_chart(
        "Use of the features",
        lines,
        x_label="features by falling use of all labels, percent",
        y_label="labels a feature serves, over the mean of all features",
    )
    words = map(_in_words, there)
    if len(runs) > 1:
        return Section(title, [*words, Figures([use]), *reasons])
    note = Note("A bin of few labels scatters more than all of them, whatever its labels have learned.")
    return Section(title, [*words, Figures([use, _picture(there[0][1])]), note])


def topology(runs: Sequence[RunFacts]) -> Section:
    """The health of the topologies from rewiring to rewiring."""
    title, layers = "Topology over time", list(dict.fromkeys(layer for run in runs for layer in _topology_layers(run)))
    if not layers:
        reason = "The log follows no topology: it never changed, or the run is of an older version."
        return Section(title, [Missing(reason)])
    first, *inner = layers
    folded = [Folded(layer, _topology_figures(runs, layer)) for layer in inner]
    note = Note(
        "After each rewiring. Turnover, ages and the gap are those of 256 rows spread over the index; the gap is "
        "set beside that of a Ramanujan graph of the same mean degrees, the best expander."
    )
    return Section(title, [_topology_figures(runs, first), *folded, note])


def cost(runs: Sequence[RunFacts]) -> Section:
    """Time, speed and bytes."""
    rows: list[tuple[str, list[Cell]]] = [
        ("training, without evaluation", [_duration(run) for run in runs]),
        ("steps", [Number(f"{run.history.steps:,}", run.history.steps) for run in runs]),
        ("documents a second, median", [_median(run, "documents_per_second") for run in runs]),
        ("peak memory, MiB", [_peak(run) for run in runs]),
    ]
    for part in dict.fromkeys(part for run in runs for part in run.sizes):
        rows.append((f"{part}, MiB", [_size(run, part) for run in runs]))
    head = ["", *(run.name for run in runs)]
    table = Table("Training, and the files of the saved model", head, [[name, *cells] for name, cells in rows])
    note = Note("Peak memory is that of the process on a CPU, and of the device's allocations on a GPU.")
    return Section("Memory and time", [table, note])


def configuration(runs: Sequence[RunFacts]) -> Section:
    """All of a run's configuration; of several, where they differ."""
    title = "Configuration"
    if len(runs) == 1:
        rows = [[Code(key), Code(value)] for key, value in runs[0].config.items()]
        table = Table("As the run was trained", ["key", "value"], rows, texts=2)
        return Section(title, [Folded(f"{len(rows)} keys", table)])
    keys = dict.fromkeys(key for run in runs for key in run.config)
    differ = [key for key in keys if len({run.config.get(key) for run in runs}) > 1 and key != "run"]
    if not differ:
        return Section(title, [Note("The runs were trained under the same configuration.")])
    rows = [[Code(key), *(Code(run.config.get(key, ABSENT)) for run in runs)] for key in differ]
    head = ["key", *(run.name for run in runs)]
    return Section(title, [Table("Where the runs differ", head, rows, texts=len(head))])


def duration(seconds: float) -> str:
    """Such as 1 h 04 min, 3 min 20 s or 12 s."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _usage(name: str, values: np.ndarray, dashed: bool = False) -> Line:
    x = 100 * (np.arange(len(values)) + 0.5) / len(values)
    return Line(name, x.tolist(), values.tolist(), dashed)


def _in_words(named: tuple[str, Connections]) -> Paragraph:
    name, topology = named
    shared = "" if topology.groups == topology.labels else f", in {topology.groups:,} groups that share theirs"
    spread = ", ".join(f"{value:.3f} ({of})" for of, value in topology.gini.items())
    return Paragraph(
        name,
        f"{topology.labels:,} labels with {topology.fan_in:,} of {topology.features:,} features each{shared}; "
        f"{topology.labels * topology.fan_in:,} weights where a dense layer has "
        f"{topology.labels * topology.features:,}. Gini coefficient of the features' use: {spread}.",
    )


def _picture(topology: Connections) -> SignPicture:
    counts = topology.block_counts
    marked = np.linspace(0, len(counts) - 1, 5).astype(int)
    ticks: Ticks = [(float(row), f"{counts[row]:,}") for row in marked]
    return sign_picture(
        "A sample of the index: weights above and below 0",
        topology.block,
        ticks,
        x_label="features by falling use, a sample",
        y_label="labels by training documents, a sample",
    )


def _duration(run: RunFacts) -> Cell:
    return Number(duration(run.history.seconds), run.history.seconds) if run.history.seconds else ABSENT


def _median(run: RunFacts, key: str) -> Cell:
    if (curve := run.history.curves.get(key)) is None:
        return ABSENT
    median = float(np.median(curve.values))
    return Number(f"{median:,.0f}", median)


def _peak(run: RunFacts) -> Cell:
    peak = run.history.peak_memory_mib
    return ABSENT if peak is None else Number(f"{peak:,.0f}", peak)


def _size(run: RunFacts, part: str) -> Cell:
    size = run.sizes.get(part)
    return ABSENT if size is None else Number(f"{size / MIB:,.1f}", size)


def _learning_figures(runs: Sequence[RunFacts]) -> Figures:
    return Figures([_draw(figure, runs, "") for figure in LEARNING])


def _topology_figures(runs: Sequence[RunFacts], layer: str) -> Figures:
    """layer: as the log's keys name it, empty for the classifier."""
    prefix = f"topology/{layer}/" if layer else "topology/"
    return Figures([_draw(figure, runs, prefix) for figure in TOPOLOGY])


def _topology_layers(run: RunFacts) -> list[str]:
    """The layers whose topology the log follows; the classifier's name is empty."""
    keys = [key.removeprefix("topology/") for key in run.history.curves if key.startswith("topology/")]
    return list(dict.fromkeys(key.rpartition("/")[0] for key in keys))


def _draw(figure: Figure, runs: Sequence[RunFacts], prefix: str) -> LineChart:
    lines, title = [], figure.title
    if len(runs) == 1:
        curves = runs[0].history.curves
        keys = list(_keys(figure, runs[0], prefix))[:LINES]
        lines = [_line(figure, _title_of(key) if len(keys) > 1 else "", curves[key]) for key in keys]
    elif key := next(_keys(figure, runs[0], prefix), None):
        if len(figure.keys) > 1 and _title_of(key) != title.lower():
            title = f"{title}: {_title_of(key)}"
        lines = [_line(figure, run.name, run.history.curves[key]) for run in runs if key in run.history.curves]
    return line_chart(
        title, lines, x_label="step", y_label=figure.unit, zero=figure.zero, logarithmic=figure.logarithmic
    )


def _keys(figure: Figure, run: RunFacts, prefix: str) -> Iterator[str]:
    """The keys of a run's log that a figure shows, in the order of its patterns."""
    found = (key for pattern in figure.keys for key in run.history.curves if fnmatchcase(key, prefix + pattern))
    yield from dict.fromkeys(found)


def _line(figure: Figure, name: str, curve: Curve) -> Line:
    scale = 100 if figure.percent else 1
    return Line(name, curve.steps.tolist(), (scale * curve.values).tolist(), dashed=name.endswith("ramanujan"))


def _title_of(key: str) -> str:
    """A key without the group that the figure's title names."""
    return key.rpartition("/")[2].replace("_", " ")
