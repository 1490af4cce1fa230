import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from scipy.special import expit

from xmc.data.corpus import Split
from xmc.errors import XMCError
from xmc.types import TopK
from xmc.workflow.calibrating import Fitted, Lists, calibrate

N, L, K = 600, 12, 6


class Bce:
    """What calibration asks of a model."""

    loss = "bce"

    def raw_probability(self, logits: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(logits)


def lists(temperature: float, shift: float = 0.0, seed: int = 0) -> Lists:
    """Labels that are true with the probability sigmoid(logit / temperature + shift)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1, 3, (N, L))
    truth = csr_matrix(rng.random((N, L)) < expit(logits / temperature + shift))
    order = np.argsort(-logits, axis=1)[:, :K]
    return Lists(order, np.take_along_axis(logits, order, axis=1), truth)


def fitted(of: Lists, ks: tuple[int, ...] = (1, 5), **options: object) -> Fitted:
    return calibrate(Bce(), of, ks, **{"precision": None, "per_label": False, "min_positives": 10} | options)  # type: ignore[arg-type]


def test_overconfident_logits_are_cooled() -> None:
    found = fitted(lists(temperature=3))
    assert found.kept == "scale"
    assert found.calibration.scale == pytest.approx(1 / 3, abs=0.05) and found.calibration.shift == 0
    assert list(found.calibration_error["scale"]) == [1, 5, 6]
    assert all(found.calibration_error["scale"][k] < 0.4 * found.calibration_error["before"][k] for k in (1, 5, 6))
    assert found.log_loss["scale"] < found.log_loss["before"]


def test_a_shift_is_kept_where_it_helps() -> None:
    found = fitted(lists(temperature=2, shift=1.5))
    assert found.kept == "scale and shift"
    assert found.calibration.shift == pytest.approx(1.5, abs=0.3)


def test_the_threshold_has_the_best_micro_f1() -> None:
    of = lists(temperature=1)
    found = fitted(of)
    probabilities = expit(found.calibration.scale * of.logits + found.calibration.shift)
    for threshold in np.linspace(0, 1, 101):
        taken = probabilities >= threshold
        assert 2 * of.hits[taken].sum() / (taken.sum() + of.truth.nnz) <= found.assignment.micro_f1 + 1e-12


def test_a_precision_is_kept_and_one_beyond_reach_refused() -> None:
    found = fitted(lists(temperature=1), precision=0.9)
    assert 0.9 <= found.assignment.precision < 0.95
    of = lists(temperature=1)
    wrong = Lists(of.labels, np.where(of.hits, of.logits, 9.0), of.truth)
    with pytest.raises(XMCError, match=r"precision=0.99 is not reached on dev"):
        fitted(wrong, precision=0.99)


def test_rare_labels_take_the_threshold_for_all() -> None:
    of = lists(temperature=2)
    positives = np.asarray(of.truth.sum(axis=0)).ravel()
    enough = int(np.median(positives))
    found = fitted(of, per_label=True, min_positives=enough)
    assert found.calibration.own is not None
    own = found.calibration.own.double().numpy()
    assert (own[positives < enough] == np.float32(found.calibration.threshold)).all()
    assert (own[positives >= enough] != np.float32(found.calibration.threshold)).all()
    assert found.own_thresholds == (positives >= enough).sum()
    assert found.assignment.macro_f1 > fitted(of).assignment.macro_f1


def test_a_label_that_never_is_precise_falls_silent() -> None:
    of = lists(temperature=1)
    truth = of.truth.toarray()
    truth[:, 3] = ~truth[:, 3]
    found = fitted(Lists(of.labels, of.logits, csr_matrix(truth)), precision=0.97, per_label=True)
    assert found.calibration.own is not None
    assert found.calibration.own[3] == torch.inf
    assert np.isfinite(np.delete(found.calibration.own.numpy(), 3)).all()


def test_filtered_pairs_are_no_truth() -> None:
    top = TopK(torch.tensor([[2.0, 1.0]]), torch.tensor([[0, 2]]))
    labels, filter = csr_matrix([[1, 1, 1]]), csr_matrix([[0, 1, 0]])
    of = Lists.of(top, Split(["a"], ["text"], labels, filter))
    assert of.truth.toarray().tolist() == [[1, 0, 1]] and of.hits.tolist() == [[True, True]]


def test_fewer_candidates_than_asked_for() -> None:
    of = lists(temperature=1)
    longer = Lists(
        np.pad(of.labels, ((0, 0), (0, 2)), constant_values=-1),
        np.pad(of.logits, ((0, 0), (0, 2)), constant_values=-np.inf),
        of.truth,
    )
    assert fitted(longer).calibration.threshold == fitted(of).calibration.threshold
    assert fitted(longer).calibration_error["scale"][8] == fitted(of).calibration_error["scale"][6]


def test_nothing_to_fit() -> None:
    of = lists(temperature=1)
    with pytest.raises(XMCError, match="0 true labels in their lists"):
        fitted(Lists(of.labels, of.logits, csr_matrix((N, L))))
    with pytest.raises(XMCError, match=r"dev has 9 documents .* at least 10 of each: train with a larger data\.dev"):
        fitted(Lists(of.labels[:9], of.logits[:9], of.truth[:9]))


@pytest.mark.parametrize("documents", [15, 99, 100])
def test_few_documents_are_told(documents: int, caplog: pytest.LogCaptureFixture) -> None:
    of = lists(temperature=1)
    fitted(Lists(of.labels[:documents], of.logits[:documents], of.truth[:documents]))
    assert [record.message.startswith(f"dev has {documents} documents") for record in caplog.records] == (
        [True] if documents < 100 else []
    )


@pytest.mark.parametrize("seed", range(8))
def test_no_fit_is_kept_that_measured_worse(seed: int) -> None:
    """Logits that are right already: what a small sample asks for is chance."""
    of = lists(temperature=1, seed=seed)
    found = fitted(Lists(of.labels[:40], of.logits[:40], of.truth[:40]))
    assert found.log_loss[found.kept] == min(found.log_loss.values())
    assert (found.kept == "before") == (found.calibration.scale == 1 and found.calibration.shift == 0)


def test_a_hinge_is_always_scaled() -> None:
    """Its own probability, clipped at 0 and 1, is no scaling of log-odds."""

    class Hinge(Bce):
        loss = "squared_hinge"

        def raw_probability(self, logits: torch.Tensor) -> torch.Tensor:
            return torch.sigmoid(logits)

    options = {"precision": None, "per_label": False, "min_positives": 10}
    kept = {seed: calibrate(Hinge(), lists(1, seed=seed), (1,), **options).kept for seed in range(3)}  # type: ignore[arg-type]
    assert "before" not in kept.values()


def test_the_table_tells_all() -> None:
    table = fitted(lists(temperature=3), per_label=True).table()
    assert "ECE@1   ECE@5   ECE@6" in table and "kept: scale, sigmoid(0.3" in table and "labels have their own" in table
