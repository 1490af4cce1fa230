"""In which type a network computes, and that its parts agree on it."""

import pytest
import torch

from xmc.model.precision import Precision, computing_type


@pytest.mark.parametrize(
    ("capability", "precision", "dtype", "told"),
    [
        ((8, 0), "auto", torch.bfloat16, None),
        ((7, 5), "float32", torch.float32, None),
        ((7, 5), "auto", torch.float32, "of compute capability 7.5 (8.0 and later have it), which is slow, so float32"),
        ((7, 5), "bfloat16", torch.bfloat16, "which is slow; float32 is quicker"),
    ],
)
def test_bfloat16_that_is_emulated_is_told_once(
    capability: tuple[int, int],
    precision: Precision,
    dtype: torch.dtype,
    told: str | None,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    computing_type.cache_clear()
    for _ in range(2):
        assert computing_type(precision, torch.device("cuda")) == dtype
    assert len(caplog.records) == (told is not None) and (told or "") in caplog.text
    assert computing_type(precision, torch.device("cpu")) == torch.float32
    computing_type.cache_clear()
