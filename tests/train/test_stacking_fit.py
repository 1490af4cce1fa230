"""The logistic regression that stacks rankings."""

import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Normal

from xmc.train.stacking import fitted

PRIOR = torch.tensor([1.0, 0.0, -0.5], dtype=torch.float64)


def test_without_evidence_it_is_the_prior() -> None:
    assert torch.equal(fitted([], [], PRIOR), PRIOR)


@given(st.integers(0, 2**31), st.integers(1, 300), st.sampled_from([0.01, 1.0, 100.0]))
def test_the_posterior_is_at_its_top(seed: int, size: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(size, 3, generator=generator) * scale
    true = torch.rand(size, generator=generator) < 0.3
    found = fitted(features.split(64), true.split(64), PRIOR).clone().requires_grad_()
    evidence = F.binary_cross_entropy_with_logits(features.double() @ found, true.double(), reduction="sum")
    prior = -Normal(PRIOR, 10**-0.5).log_prob(found).sum()
    (gradient,) = torch.autograd.grad(evidence + prior, found)
    assert gradient.abs().max() < 1e-3 * (10 + scale**2 * size)


def test_what_was_drawn_is_found_again() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.tensor([0.5, -2.0, 1.0], dtype=torch.float64)
    features = torch.randn(100_000, 3, generator=generator)
    true = torch.rand(len(features), generator=generator) < (features.double() @ drawn).sigmoid()
    torch.testing.assert_close(fitted(features.split(64), true.split(64), PRIOR), drawn, atol=0.05, rtol=0)
