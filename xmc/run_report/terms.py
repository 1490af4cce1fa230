"""The section that explains the words of the page."""

from xmc.run_report.blocks import Section, Table

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


def terms() -> Section:
    """Each in a sentence."""
    return Section("Terms", [Table("What the words mean", ["term", "meaning"], [*_TERMS.items()], texts=2)])
