"""The page as a whole."""

from collections.abc import Sequence
from importlib.resources import files
from xml.etree.ElementTree import Element

from xmc.run_report import anatomy, quality
from xmc.run_report.connections import Connections
from xmc.run_report.facts import Measured, RunFacts
from xmc.run_report.markup import document, element

PARTS = ("data", "encoder", "classifier", "sparsity")


def render(runs: Sequence[RunFacts]) -> str:
    """A report on one run, or on several side by side, as one HTML file that loads nothing."""
    if len(runs) == 1:
        (run,) = runs
        title = f"Report on {run.name}"
        opening, sections = [_glance(run)], _of_one(run)
    else:
        title = f"{len(runs)} runs side by side"
        opening, sections = [], _of_several(runs)
    contents = element("nav", *(_link(section) for section in sections), aria_label="Contents")
    header = element("header", element("h1", title), element("p", _subtitle(runs), class_="subtitle"), contents)
    return document(title, _asset("page.css"), _asset("page.js"), header, *opening, *sections)


def _of_one(run: RunFacts) -> list[Element]:
    return [
        quality.metrics_of_one(run),
        anatomy.learning([run]),
        quality.frequency([run]),
        quality.confused(run),
        anatomy.connection_map([run]),
        anatomy.topology([run]),
        quality.documents(run),
        anatomy.cost([run]),
        anatomy.configuration([run]),
    ]


def _of_several(runs: Sequence[RunFacts]) -> list[Element]:
    return [
        quality.metrics_of_several(runs),
        anatomy.learning(runs),
        quality.frequency(runs),
        anatomy.connection_map(runs),
        anatomy.topology(runs),
        anatomy.cost(runs),
        anatomy.configuration(runs),
    ]


def _glance(run: RunFacts) -> Element:
    """The few figures that a reader looks for first."""
    entries = []
    if isinstance(measured := run.measured, Measured):
        for name in (f"P@{measured.report.ks[0]}", f"nDCG@{measured.report.ks[-1]}"):
            spread = quality.interval(measured.bootstrap.interval(name))
            entries.append(_entry(f"{name} on {measured.split}", f"{100 * measured.report[name]:.2f}", spread))
        entries.append(_entry("labels", f"{measured.report.labels:,}", f"{measured.report.documents:,} documents"))
    if isinstance(topology := run.connections, Connections):
        entries.append(_entry("connections a label", f"{topology.fan_in:,}", f"of {topology.features:,} features"))
    if run.history.steps:
        steps = f"{run.history.steps:,} steps"
        entries.append(_entry("training", anatomy.duration(run.history.seconds), steps))
    if (memory := run.history.peak_memory_mib) is not None:
        entries.append(_entry("peak memory", f"{memory:,.0f} MiB", "while training"))
    return element("dl", *entries, class_="glance")


def _entry(name: str, value: str, detail: str) -> Element:
    return element("div", element("dt", name), element("dd", value, element("small", detail)))


def _subtitle(runs: Sequence[RunFacts]) -> str:
    """What was trained on what; of several runs, each in a clause of its own."""
    told = [", ".join(f"{part} {run.config[f'{part}.kind']}" for part in PARTS) for run in runs]
    if len(runs) == 1:
        return told[0]
    return "; ".join(f"{run.name}: {of}" for run, of in zip(runs, told, strict=True))


def _link(section: Element) -> Element:
    return element("a", section[0].text or "", href=f"#{section.get('id')}")


def _asset(name: str) -> str:
    return files("xmc.run_report").joinpath(name).read_text(encoding="utf-8")
