import torch

from xmc.ops.counter_rng import _mix, bell_shaped, random_integers, rounded


def splitmix64(state: int) -> int:
    """The published generator, in Python's unbounded integers."""
    mask = (1 << 64) - 1
    z = (state + 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def test_is_splitmix64() -> None:
    states = [0, 1, 1234567, 2**62, -1, -(2**63)]
    expected = [splitmix64(x & (2**64 - 1)) for x in states]
    assert [x & (2**64 - 1) for x in _mix(torch.tensor(states)).tolist()] == expected
    assert splitmix64(1234567) == 6457827717110365317  # the first value of the published test vector


def test_uniform_and_within_bounds() -> None:
    labels = torch.arange(60_000)
    drawn = random_integers(torch.full_like(labels, 6), 3, 7, labels, 0)
    counts = torch.bincount(drawn, minlength=6)
    assert len(counts) == 6 and float(((counts - 10_000) ** 2 / 10_000).sum()) < 20.5  # chi-squared, 5 d.o.f., p = .001


def test_every_argument_matters() -> None:
    labels, bound = torch.arange(1000), torch.full((1000,), 1 << 40)
    first = random_integers(bound, 0, 0, labels, 0)
    others = [
        random_integers(bound, 1, 0, labels, 0),
        random_integers(bound, 0, 1, labels, 0),
        random_integers(bound, 0, -1, labels, 0),
        random_integers(bound, 0, 0, labels + 1000, 0),
        random_integers(bound, 0, 0, labels, 1),
        random_integers(bound, 2**64 - 1, 0, labels, 0),
    ]
    assert len(torch.cat([first, *others]).unique()) == 7000


def test_stochastic_rounding_keeps_the_mean() -> None:
    value = torch.full((4000, 50), 1 + 2**-7 * 0.3)  # three tenths of the way between two neighbours in bfloat16
    drawn = rounded(value, torch.bfloat16, (0, 1), 0).double()
    assert set(drawn.unique().tolist()) == {1.0, 1 + 2**-7}
    assert abs(float(drawn.mean() - value.double().mean())) < 5 * 2**-7 * (0.21 / drawn.numel()) ** 0.5


def test_what_bfloat16_holds_stays_and_other_types_are_cast() -> None:
    exact = torch.tensor([[1.0, -2.5, 0.0, 3e38, -1e-30]]).to(torch.bfloat16)
    assert torch.equal(rounded(exact.float(), torch.bfloat16, (3, 4), 5), exact)
    assert rounded(exact.float(), torch.float32, (3, 4), 5).dtype == torch.float32


def test_rounding_depends_on_seed_step_label_and_slot_alone() -> None:
    value = torch.rand(60, 8)
    whole = rounded(value, torch.bfloat16, (1, 2), 100)
    assert torch.equal(rounded(value[20:], torch.bfloat16, (1, 2), 120), whole[20:])
    for other in ((2, 2), (1, 3)):
        assert not torch.equal(rounded(value, torch.bfloat16, other, 100), whole)


def test_the_bell_has_mean_0_variance_1_and_knows_its_place() -> None:
    drawn = bell_shaped(5, torch.arange(3000), 100)
    assert abs(float(drawn.mean())) < 0.01 and abs(float(drawn.var()) - 1) < 0.02
    assert float(drawn.abs().max()) < 3.5
    assert torch.equal(bell_shaped(5, torch.tensor([7, 2000]), 60), drawn[[7, 2000], :60])
    assert not torch.equal(bell_shaped(6, torch.arange(3), 100), drawn[:3])
