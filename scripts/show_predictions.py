"""Five test documents of a run with their true and predicted labels, to read.

usage: python scripts/show_predictions.py RUN [COUNT]
"""

import sys
import textwrap
from pathlib import Path

from xmc import XMCModel
from xmc.config import load_run_config
from xmc.factory import load_corpus


def main(run: str, count: int = 5) -> None:
    """Print every n-th test document, so that the choice is fixed and spread over the split."""
    corpus = load_corpus(load_run_config(run))
    test = corpus.split("test")
    rows = list(range(0, len(test), max(1, len(test) // count)))[:count]
    texts = [test.texts[row] for row in rows]
    model = XMCModel.from_pretrained(Path(run) / "model")
    for row, text, predictions in zip(rows, texts, model.predict(texts, k=5), strict=True):
        truth = {corpus.label_ids[label] for label in test.labels[row].indices.tolist()}
        print(f"\n{test.ids[row]}")
        print(textwrap.indent(textwrap.fill(text[:240], 100), "    "))
        for p in predictions:
            print(f"  {'+' if p.label in truth else ' '} {p.score:6.1%}  {p.name}")
    print("\n+ marks a label of the document")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:3]))
