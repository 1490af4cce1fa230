"""The figures of a report that are drawn from the log: which there are, and their lines for one run and for several."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from xmc.run_report.blocks import Figures
from xmc.run_report.charts import Line, LineChart, line_chart
from xmc.run_report.facts import RunFacts
from xmc.run_report.folder import Curve

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


def learning_figures(runs: Sequence[RunFacts]) -> Figures:
    return Figures([_draw(figure, runs, "") for figure in LEARNING])


def topology_figures(runs: Sequence[RunFacts], layer: str) -> Figures:
    """layer: as the log's keys name it, empty for the classifier."""
    prefix = f"topology/{layer}/" if layer else "topology/"
    return Figures([_draw(figure, runs, prefix) for figure in TOPOLOGY])


def topology_layers(run: RunFacts) -> list[str]:
    """The layers whose topology the log follows; the classifier's name is empty."""
    keys = [key.removeprefix("topology/") for key in run.history.curves if key.startswith("topology/")]
    return list(dict.fromkeys(key.rpartition("/")[0] for key in keys))


def _draw(figure: Figure, runs: Sequence[RunFacts], prefix: str) -> LineChart:
    lines, title = [], figure.title
    if len(runs) == 1:
        curves = runs[0].history.curves
        keys = list(_keys(figure, runs[0], prefix))[:LINES]
        lines = [_line(figure, _plain(key) if len(keys) > 1 else "", curves[key]) for key in keys]
    elif key := next(_keys(figure, runs[0], prefix), None):
        if len(figure.keys) > 1 and _plain(key) != title.lower():
            title = f"{title}: {_plain(key)}"
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


def _plain(key: str) -> str:
    """A key without the group that the figure's title names."""
    return key.rpartition("/")[2].replace("_", " ")
