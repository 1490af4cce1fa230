"""The baseline for small sets: TF-IDF of unigrams and bigrams, and one logistic regression a label (one-vs-rest).

usage: python scripts/baselines/tfidf_ovr.py RUN

trains it on the training documents of a run and prints its test figures beside those of the run.
"""

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from xmc.config import load_run_config
from xmc.evaluate import evaluate
from xmc.factory import load_corpus

LABELS_A_BLOCK = 64


def fit_predict(
    train_texts: Sequence[str],
    train_labels: sp.csr_matrix,
    test_texts: Sequence[str],
    k: int,
    *,
    C: float = 100.0,
    max_features: int = 200_000,
    jobs: int = -1,
) -> NDArray[np.int64]:
    """The k best labels of each test text, int64 [N, k]: best first, equal scores by ascending label, -1 for none.

    train_labels: CSR [N_train, L]; labels without a training document are never predicted. C: the inverse strength of
    the regularisation. jobs: processes, -1 for one a core. A block of labels is fitted, scored and forgotten, so that
    memory is O(features + jobs * N * block) and no L x features matrix exists.
    """
    tfidf = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_features=max_features)
    train, test = tfidf.fit_transform(train_texts), tfidf.transform(test_texts)
    columns = train_labels.astype(bool).tocsc()
    columns.eliminate_zeros()
    seen = np.flatnonzero(np.diff(columns.indptr))
    blocks = [seen[start : start + LABELS_A_BLOCK] for start in range(0, len(seen), LABELS_A_BLOCK)]
    scored = Parallel(n_jobs=jobs, mmap_mode="c", return_as="generator")(
        delayed(_score_block)(train, columns[:, block], test, C) for block in blocks
    )
    scores, labels = np.full((len(test_texts), k), -np.inf), np.full((len(test_texts), k), -1)
    for block, block_scores in zip(blocks, scored, strict=True):
        scores = np.hstack([scores, block_scores])
        labels = np.hstack([labels, np.broadcast_to(block, block_scores.shape)])
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        scores, labels = np.take_along_axis(scores, best, axis=1), np.take_along_axis(labels, best, axis=1)
    return labels


def _score_block(train: sp.csr_matrix, targets: sp.csc_matrix, test: sp.csr_matrix, C: float) -> NDArray[np.float64]:
    """Scores of the test texts, [N, block]. A label that every training document has is certain: it scores infinity."""
    # With fewer documents than features the dual is the faster form; its random order is seeded at each fit.
    model = LogisticRegression(C=C, solver="liblinear", dual=True, tol=1e-2, max_iter=1000, random_state=0)
    scores = np.empty((test.shape[0], targets.shape[1]))
    for j in range(targets.shape[1]):
        target = targets[:, [j]].toarray().ravel()
        if target.all():
            scores[:, j] = np.inf
        else:
            scores[:, j] = model.fit(train, target).decision_function(test)
    return scores


def main(run: str) -> None:
    """Print P@k of the run's model (from its metrics-test.json) and of the baseline."""
    measured = Path(run) / "metrics-test.json"
    if not measured.is_file():
        sys.exit(f"{measured} is missing; make it with: xmc evaluate run={shlex.quote(run)} split=test")
    config = load_run_config(run)
    corpus = load_corpus(config)
    train, test = corpus.split("train"), corpus.split("test")
    ranked = fit_predict(list(train.texts), train.labels, list(test.texts), 5)
    baseline = evaluate(ranked, test.labels, train_counts=corpus.label_counts("train"), num_train=len(train))
    ours = json.loads(measured.read_text())["metrics"]
    names = ("P@1", "P@3", "P@5")
    print(" " * 38 + "".join(f"{name:>8}" for name in names))
    for title, metrics in (("xmc", ours), ("TF-IDF + one-vs-rest, log. regression", baseline.metrics)):
        print(f"{title:<38}" + "".join(f"{100 * metrics[name]:8.2f}" for name in names))


if __name__ == "__main__":
    main(sys.argv[1])
