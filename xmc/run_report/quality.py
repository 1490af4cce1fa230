"""The sections on what a model does: its metrics, its mistakes, its best and its worst documents."""

from collections.abc import Callable, Sequence

from xmc.evaluate import FAMILIES, Interval, Octave
from xmc.run_report.blocks import ABSENT, MINUS, Cell, Figures, Folded, Heading, Note, Number, Section, Table
from xmc.run_report.charts import Line, Ticks, line_chart
from xmc.run_report.facts import Measured, Missing, RunFacts

WIDE = 4  # runs that fit beside each other
_FIRST = [f"{family}@{k}" for family in ("P", "nDCG", "PSP") for k in (1, 3, 5)]
"""Metrics of more runs, a row each."""
TRUE_MINUS = str.maketrans("-", MINUS)


def metrics_of_one(run: RunFacts) -> Section:
    """Every metric of the split with its interval, and beside it what the run folder has recorded of other splits."""
    if isinstance(measured := run.measured, Missing):
        return Section("Metrics", [measured, *_recorded_alone(run)])
    report, ks = measured.report, measured.report.ks
    rows = [
        [family, *(_metric(measured, f"{family}@{k}") for k in ks), *_recorded(run, [f"{family}@{k}" for k in ks])]
        for family in FAMILIES
    ]
    head = ["", *(f"@{k}" for k in ks), *(f"{split} @{k}" for split in run.recorded for k in ks)]
    bins = ", ".join(f"{count:,} {name}" for name, count in report.bin_labels.items())
    unlabelled = f" ({report.unlabelled:,} without labels)" if report.unlabelled else ""
    table = Table(f"{measured.split}: {report.documents:,} documents{unlabelled}, in percent", head, rows)
    note = Note(
        _intervals(measured) + "Macro-F1 and coverage are means over labels and have none. Head, torso and tail "
        f"take a third of the training assignments each ({bins}). "
        f"Propensities: A = {report.A:g}, B = {report.B:g}. "
        + ("" if run.recorded else "The run folder has no figures of another split to set beside these. ")
        + ("" if measured.split == "test" else "Test figures are shown under split=test alone.")
    )
    return Section("Metrics", [table, note])


def metrics_of_several(runs: Sequence[RunFacts]) -> Section:
    """The metrics of each run, and how far it differs from the first, document by document."""
    notes = [Note(f"{run.name}: {run.measured.reason}") for run in runs if isinstance(run.measured, Missing)]
    measured = [(run.name, run.measured) for run in runs if isinstance(run.measured, Measured)]
    if not measured:
        return Section("Metrics", notes)
    (first_name, first), *others = measured
    same = [(name, other) for name, other in others if other.documents == first.documents]
    notes += [
        Note(f"{name} was measured on other documents than {first_name}: their differences cannot be paired.")
        for name, other in others
        if other.documents != first.documents
    ]
    head = ["", *(name for name, _ in measured), *(f"{name} {MINUS} {first_name}" for name, _ in same)]
    names = [name for name in first.report.metrics if all(name in other.report.metrics for _, other in measured)]
    rows = [
        [name, *(_metric(one, name) for _, one in measured), *(_difference(one, first, name) for _, one in same)]
        for name in names
    ]
    paired = (
        "Differences are paired: both runs saw the same resampled documents; coloured where the interval leaves out 0."
    )
    title, note = f"{first.split}, in percent", Note(_intervals(first) + paired)
    if len(measured) <= WIDE:
        return Section("Metrics", [Table(title, head, rows), note, *notes])
    short = [name for name in names if name in _FIRST] or names
    whole = Table(
        title, ["run", *short], [[name, *(_plain(one, metric) for metric in short)] for name, one in measured]
    )
    return Section("Metrics", [whole, Folded("All metrics, with differences", Table(title, head, rows)), note, *notes])


def frequency(runs: Sequence[RunFacts]) -> Section:
    """Recall and precision of rare and of frequent labels."""
    measured = [(run.name, run.measured) for run in runs if isinstance(run.measured, Measured)]
    title = "Rare and frequent labels"
    if not measured:
        return Section(title, [run.measured for run in runs if isinstance(run.measured, Missing)])
    first = measured[0][1]
    if len(measured) == 1:
        lines = [(f"@{cut}", first.octaves, cut) for cut in first.report.ks]
        at = ""
    else:
        at = f"@{max(first.report.ks)}"
        lines = [(name, one.octaves, max(one.report.ks)) for name, one in measured]
    charts = [
        line_chart(
            f"{figure}{at} by label frequency",
            [_by_octave(name, octaves, value, cut) for name, octaves, cut in lines],
            x_label="training documents of a label, from tail to head",
            y_label="percent",
            x_ticks=_octave_ticks([octave for _, octaves, _ in lines for octave in octaves]),
            zero=True,
        )
        for figure, value in (("Recall", _recall), ("Precision", _precision))
    ]
    note = Note(
        "Labels are taken together by octaves of their training documents. Recall (R): share of their true "
        "assignments that stand among the first labels of a list; precision (P): share of their predictions there "
        f"that are right. Documents of {first.split}."
    )
    return Section(title, [Figures(charts), *([_octave_table(first)] if len(runs) == 1 else []), note])


def confused(run: RunFacts) -> Section:
    """Labels predicted instead of others."""
    title = "Confused labels"
    if isinstance(measured := run.measured, Missing):
        return Section(title, [measured])
    names = measured.label_names
    rows: list[list[Cell]] = [
        [names[pair.true], names[pair.predicted], _count(pair.documents), _percent(pair.documents / pair.missed)]
        for pair in measured.confusions
    ]
    if not rows:
        return Section(title, [Missing("No label was predicted instead of another.")])
    head = ["missed label", "predicted instead", "documents", "of its misses, %"]
    note = Note(
        "A list counts as far as it could be all right: as many labels as the document has, at most "
        f"{max(measured.report.ks)}. A document with several wrong labels counts for each of them."
    )
    return Section(title, [Table("The most frequent pairs", head, rows, texts=2), note])


def documents(run: RunFacts) -> Section:
    """The best and the worst documents, to read."""
    title = "Documents"
    if isinstance(measured := run.measured, Missing):
        return Section(title, [measured])
    k = max(measured.report.ks)
    note = Note(f"By nDCG@{k}; of equals, the best have the most labels, the worst those the model was surest of.")
    return Section(title, [note, Heading("Worst"), *measured.worst, Heading("Best"), *measured.best])


def calibration(runs: Sequence[RunFacts]) -> Section | None:
    """How far the probabilities of calibrated models can be trusted; None where no model is calibrated."""
    bins = {
        run.name: run.measured.reliability
        for run in runs
        if isinstance(run.measured, Measured) and run.measured.reliability
    }
    if not bins:
        return None
    lines = [Line(name, [100 * b.probability for b in of], [100 * b.share for b in of]) for name, of in bins.items()]
    chart = line_chart(
        "Reliability",
        [*lines, Line("ideal", [0.0, 100.0], [0.0, 100.0], dashed=True)],
        x_label="probability that the model gives, percent",
        y_label="labels that are true, percent",
        zero=True,
    )
    note = Note(
        "The labels of all lists by their probability: of those that a calibrated model gives 80 %, 80 % are true. "
        "Below the dashed line it promises too much, above it too little."
    )
    return Section("Calibration", [Figures([chart]), note])


def interval(of: Interval | None) -> str:
    """In percent; empty where there is none."""
    return "" if of is None else f"{100 * of.low:.2f} to {100 * of.high:.2f}"


def _metric(measured: Measured, name: str) -> Cell:
    value = 100 * measured.report[name]
    return Number(f"{value:.2f}", value, detail=interval(measured.bootstrap.interval(name)))


def _plain(measured: Measured, name: str) -> Cell:
    value = 100 * measured.report[name]
    return Number(f"{value:.2f}", value)


def _difference(one: Measured, first: Measured, name: str) -> Cell:
    value = one.report[name] - first.report[name]
    spread = one.bootstrap.difference(first.bootstrap, name)
    style = "difference"
    if spread is not None and not spread.holds(0):
        style += " better" if value > 0 else " worse"
    text, detail = f"{100 * value:+.2f}".translate(TRUE_MINUS), interval(spread).translate(TRUE_MINUS)
    return Number(text, value, detail, style)


def _intervals(measured: Measured) -> str:
    replicates = len(next(iter(measured.bootstrap.replicates.values())))
    return f"Small figures are 95% intervals of the bootstrap over documents, {replicates:,} replicates. "


def _recorded_alone(run: RunFacts) -> list[Table]:
    """The figures of the run folder, where there are none to stand beside."""
    if not run.recorded:
        return []
    names = dict.fromkeys(name for figures in run.recorded.values() for name in figures)
    rows = [[name, *_recorded(run, [name])] for name in names]
    return [Table("As the run folder has them, in percent", ["", *run.recorded], rows)]


def _recorded(run: RunFacts, names: Sequence[str]) -> list[Cell]:
    """What the run folder has of other splits; a metric that it lacks is a dash."""
    cells: list[Cell] = []
    for figures in run.recorded.values():
        cells += [_percent(figures[name]) if name in figures else ABSENT for name in names]
    return cells


def _recall(octave: Octave, k: int) -> float | None:
    return octave.recall[k - 1] if octave.true else None


def _precision(octave: Octave, k: int) -> float | None:
    return octave.precision[k - 1] if octave.predicted[k - 1] else None


def _by_octave(name: str, octaves: Sequence[Octave], value: Callable[[Octave, int], float | None], k: int) -> Line:
    """A point for each octave that has a value."""
    points = [(_place(octave), 100 * y) for octave in octaves if (y := value(octave, k)) is not None]
    return Line(name, [x for x, _ in points], [y for _, y in points])


def _place(octave: Octave) -> float:
    return octave.fewest.bit_length()


def _octave_ticks(octaves: Sequence[Octave]) -> Ticks:
    """Every octave where there is room for its text, else every second or third."""
    texts = {_place(octave): f"{octave.fewest:,}" for octave in octaves}
    step = -(-len(texts) // 9)
    return [(place, text) for i, (place, text) in enumerate(sorted(texts.items())) if i % step == 0]


def _octave_table(measured: Measured) -> Table:
    ks = measured.report.ks
    rows = []
    for octave in measured.octaves:
        span = f"{octave.fewest:,}" + (f" to {octave.most:,}" if octave.most > octave.fewest else "")
        cells: list[Cell] = [Number(span, octave.fewest), _count(octave.labels), _count(octave.true)]
        for value in (_recall, _precision):
            cells += [_percent(y) if (y := value(octave, k)) is not None else ABSENT for k in ks]
        rows.append(cells)
    head = ["training documents", "labels", f"assignments in {measured.split}"]
    head += [f"{name}@{k}" for name in "RP" for k in ks]
    return Table("By octave, in percent", head, rows, texts=0)


def _percent(share: float) -> Number:
    return Number(f"{100 * share:.2f}", 100 * share)


def _count(number: int) -> Number:
    return Number(f"{number:,}", number)
