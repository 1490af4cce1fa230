import torch

from xmc.sparsity.random import _mix, random_integers


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
