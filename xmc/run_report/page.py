"""The page as a whole."""

from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from xmc.run_report import anatomy, charts, quality
from xmc.run_report.blocks import Section, Table
from xmc.run_report.connections import Connections
from xmc.run_report.facts import Measured, RunFacts

_TERMS = {
    "P@k": "precision: of the first k labels of a document, the share that is true",
    "R@k": "recall: of a document's true labels, the share that stands among the first k",
    "nDCG@k": "as precision, with more weight for the first places; 100 where all true labels come first",
    "PSP@k": "precision in which a rare label counts more, after its propensity: what is rare is easily overlooked, by "
    "people too",
    "macro-F1": "the balance of precision and recall of each label, averaged over labels: rare ones count alike",
    "coverage": "of the labels that have a true document, the share that is found for at least one",
    "head, torso, tail": "frequent, medium and rare labels: each third of the assignments in training",
    "interval": "where the figure would lie in 95 of 100 sets of documents like these, by the bootstrap",
    "connections": "the features that a label's score is the weighted sum of; its fan-in is their number",
    "rewiring": "the least useful connections of each label are dropped and as many others are tried",
    "Gini coefficient": "0 where all features serve as many labels, near 1 where few serve nearly all",
    "dev, test": "documents kept apart from training: dev to choose by, test for the end",
}
PARTS = ("data", "encoder", "classifier", "sparsity")

_templates = Environment(
    loader=PackageLoader("xmc.run_report"), autoescape=True, trim_blocks=True, undefined=StrictUndefined
)
_templates.filters["kind"] = lambda block: type(block).__name__
_templates.globals |= {name: getattr(charts, name) for name in ("WIDTH", "HEIGHT", "TOP", "BOTTOM", "LEFT")}


def render(runs: Sequence[RunFacts]) -> str:
    """A report on one run, or on several side by side, as one HTML file that loads nothing."""
    if len(runs) == 1:
        (run,) = runs
        title = f"Report on {run.name}"
        glance, sections = _glance(run), _of_one(run)
    else:
        title = f"{len(runs)} runs side by side"
        glance, sections = None, _of_several(runs)
    page = _templates.get_template("page.html")
    text = page.render(title=title, subtitle=_subtitle(runs), glance=glance, sections=sections)
    return text.encode("utf-8", "replace").decode()


def _of_one(run: RunFacts) -> list[Section]:
    sections = [
        quality.metrics_of_one(run),
        quality.documents(run),
        quality.calibration([run]),
        quality.confused(run),
        quality.frequency([run]),
        anatomy.cost([run]),
        anatomy.learning([run]),
        anatomy.connection_map([run]),
        anatomy.topology([run]),
        anatomy.configuration([run]),
        _terms(),
    ]
    return [section for section in sections if section is not None]


def _of_several(runs: Sequence[RunFacts]) -> list[Section]:
    sections = [
        quality.metrics_of_several(runs),
        anatomy.configuration(runs),
        quality.calibration(runs),
        quality.frequency(runs),
        anatomy.cost(runs),
        anatomy.learning(runs),
        anatomy.connection_map(runs),
        anatomy.topology(runs),
        _terms(),
    ]
    return [section for section in sections if section is not None]


def _glance(run: RunFacts) -> list[tuple[str, str, str]]:
    """The few figures that a reader looks for first: name, value, detail."""
    entries = []
    if isinstance(measured := run.measured, Measured):
        for name in (f"P@{measured.report.ks[0]}", f"nDCG@{measured.report.ks[-1]}"):
            spread = quality.interval(measured.bootstrap.interval(name))
            entries.append((f"{name} on {measured.split}", f"{100 * measured.report[name]:.2f}", spread))
        above = f"{measured.above:,} of them above others, " if measured.above else ""
        entries.append(("labels", f"{measured.report.labels:,}", f"{above}{measured.report.documents:,} documents"))
    if isinstance(topology := run.connections, Connections):
        entries.append(("connections a label", f"{topology.fan_in:,}", f"of {topology.features:,} features"))
    if run.history.steps:
        steps = f"{run.history.steps:,} steps"
        entries.append(("training", anatomy.duration(run.history.seconds), steps))
    if (memory := run.history.peak_memory_mib) is not None:
        entries.append(("peak memory", f"{memory:,.0f} MiB", "while training"))
    return entries


def _subtitle(runs: Sequence[RunFacts]) -> str:
    """What was trained on what, as far as it is the same for all."""
    same = [part for part in PARTS if len({run.config[f"{part}.kind"] for run in runs}) == 1]
    told = ", ".join(f"{part} {runs[0].config[f'{part}.kind']}" for part in same)
    others = [part for part in PARTS if part not in same]
    return "; ".join(filter(None, [told, f"differing in {', '.join(others)}" if others else ""]))


def _terms() -> Section:
    """The words of the page, each in a sentence."""
    return Section("Terms", [Table("What the words mean", ["term", "meaning"], [*_TERMS.items()], texts=2)])
