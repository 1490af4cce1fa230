import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_model import TEXTS, make_model

from xmc.errors import XMCError
from xmc.model import XMCModel
from xmc.model.calibration import Calibration

OWN = torch.tensor([0.0, 1.0, 0.2, 0.3, 0.4, 0.5, 0.6])


def calibrated(own: torch.Tensor | None = None, threshold: float = 0.5) -> XMCModel:
    model = make_model(loss="squared_hinge")
    model.calibration = Calibration(scale=0.25, shift=-0.5, k=6, threshold=threshold, own=own)
    return model


@pytest.mark.parametrize("own", [None, OWN])
def test_round_trip(tmp_path: Path, own: torch.Tensor | None) -> None:
    model = calibrated(own)
    model.save_pretrained(tmp_path)
    again = XMCModel.from_pretrained(tmp_path)
    assert again.predict(TEXTS, threshold="auto") == model.predict(TEXTS, threshold="auto")
    assert again.predict(TEXTS) == model.predict(TEXTS)
    again.calibration = None
    again.save_card(tmp_path)
    assert XMCModel.from_pretrained(tmp_path).calibration is None


def test_a_model_saved_before_there_were_calibrations(tmp_path: Path) -> None:
    make_model().save_pretrained(tmp_path)
    card = json.loads((tmp_path / "xmc.json").read_text())
    for later in ("calibration", "files", "digest"):
        del card[later]
    (tmp_path / "xmc.json").write_text(json.dumps(card | {"format_version": 1}))
    assert XMCModel.from_pretrained(tmp_path).predict(TEXTS) == make_model().predict(TEXTS)


def test_scores_are_calibrated_and_ranks_stay() -> None:
    plain, model = make_model(loss="squared_hinge"), calibrated()
    for before, after in zip(plain.predict(TEXTS, k=7), model.predict(TEXTS, k=7), strict=True):
        assert [p.label for p in after] == [p.label for p in before]
        for p, raw in zip(after, before, strict=True):
            assert p.logit == 0.25 * raw.logit - 0.5
            assert p.score == pytest.approx(1 / (1 + 2.718281828459045 ** (0.5 - 0.25 * raw.logit)), rel=1e-9)


@given(st.floats(-80, 80, width=32), st.floats(0.02, 50), st.floats(-50, 50))
def test_neighbouring_logits_stay_apart(logit: float, scale: float, shift: float) -> None:
    """Where the shift does not drown them: the log-odds of a float32 logit and the next are two numbers."""
    pair = torch.tensor([logit, logit]).nextafter(torch.tensor([logit, torch.inf]))
    low, high = Calibration(scale, shift, 5, 0.5).logits(pair).tolist()
    assert low < high if abs(logit) > 1e-3 else low <= high


def test_thresholds() -> None:
    model = calibrated(OWN)
    for chosen, all_labels in zip(model.predict(TEXTS, threshold="auto"), model.predict(TEXTS, k=6), strict=True):
        assert chosen == [p for p in all_labels if p.score >= OWN[int(p.label[1:])].item()]
    for chosen, all_labels in zip(model.predict(TEXTS, threshold=0.375), model.predict(TEXTS), strict=True):
        assert chosen == [p for p in all_labels if p.score >= 0.375]
    assert model.predict(TEXTS, threshold=1.0) == [[]] * len(TEXTS)


def test_auto_looks_as_far_as_the_thresholds_were_chosen() -> None:
    assert [len(row) for row in calibrated(threshold=0.0).predict(TEXTS[:2], threshold="auto")] == [6, 6]
    assert len(calibrated(threshold=0.0).predict(TEXTS[:1], k=2, threshold="auto")[0]) == 2


def test_auto_without_a_calibration() -> None:
    with pytest.raises(XMCError, match="has no thresholds; choose them on dev data with `xmc calibrate"):
        make_model().predict(TEXTS, threshold="auto")


def test_more_labels_take_the_threshold_for_all() -> None:
    more = Calibration(1.0, 0.0, 5, 0.25, OWN).with_more(2)
    assert torch.equal(more.thresholds(torch.arange(len(OWN) + 2)), torch.cat([OWN, torch.full((2,), 0.25)]).double())
    plain = Calibration(1.0, 0.0, 5, 0.25)
    assert plain.with_more(2) == plain
