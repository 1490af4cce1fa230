import torch

from xmc.ops.losses import LOSSES, loss_and_gradient_

NONE = (torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))


def test_hand_computed() -> None:
    at = (torch.tensor([0]), torch.tensor([1]))
    rows, gradient = loss_and_gradient_(torch.tensor([[0.5, 0.25], [-2.0, 0.0]]), at, "squared_hinge")
    assert rows.tolist() == [1.5**2 + 0.75**2, 1.0]
    assert gradient.tolist() == [[3.0, -1.5], [0.0, 2.0]]
    rows, gradient = loss_and_gradient_(torch.zeros(1, 2), (torch.tensor([0]), torch.tensor([0])), "bce")
    torch.testing.assert_close(rows, 2 * torch.tensor([2.0]).log())
    assert gradient.tolist() == [[-0.5, 0.5]]


def test_bce_keeps_relative_precision_far_from_zero() -> None:
    logits = torch.tensor([[-30.0, -80.0, 0.0, 39.0, 41.0, 1e4, -1e4]]).T.contiguous()
    rows, gradient = loss_and_gradient_(logits.clone(), NONE, "bce")
    exact = logits.double().squeeze(1)
    torch.testing.assert_close(rows.double(), torch.log1p(exact.clamp(max=700).exp()).where(exact < 700, exact))
    torch.testing.assert_close(gradient.double(), exact.sigmoid()[:, None], rtol=1e-6, atol=0)


def test_nan_is_passed_on() -> None:
    for loss in LOSSES:
        rows, gradient = loss_and_gradient_(torch.tensor([[torch.nan, 0.0]]), NONE, loss)
        assert rows.isnan().all() and gradient[0].isnan().tolist() == [True, False]
