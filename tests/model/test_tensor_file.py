from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from xmc.errors import XMCError
from xmc.model import tensor_file
from xmc.model.tensor_file import TensorFile, fill

STATUS = Path("/proc/self/status")
SAVED = {
    "weight": torch.arange(6.0).view(2, 3),
    "index": torch.ones(2, dtype=torch.int16),
    "step": torch.tensor(3),
    "empty": torch.zeros(0, 3),
}


@pytest.fixture
def saved(tmp_path: Path) -> TensorFile:
    save_file(SAVED, tmp_path / "saved.safetensors")
    return TensorFile(tmp_path / "saved.safetensors")


def test_reads_what_was_saved(saved: TensorFile) -> None:
    assert set(saved) == set(SAVED)
    assert all(torch.equal(saved[name], tensor) for name, tensor in SAVED.items())
    with pytest.raises(KeyError):
        saved["absent"]


def test_fill_copies_into_place(saved: TensorFile) -> None:
    own = {name: torch.zeros_like(tensor) for name, tensor in SAVED.items()}
    places = {name: tensor.data_ptr() for name, tensor in own.items()}
    fill(own, saved)
    assert all(torch.equal(own[name], tensor) for name, tensor in SAVED.items())
    assert {name: tensor.data_ptr() for name, tensor in own.items()} == places


def test_what_does_not_belong_is_refused(saved: TensorFile) -> None:
    own = {name: torch.zeros_like(tensor) for name, tensor in SAVED.items()}
    with pytest.raises(XMCError, match=r"saved.safetensors: missing \['bias'\], unexpected \['step'\]"):
        fill({**{name: own[name] for name in ("weight", "index", "empty")}, "bias": torch.zeros(1)}, saved)
    with pytest.raises(XMCError, match=r"index is int16 \[2\], expected int16 \[1\]"):
        fill(own | {"index": own["index"][:1]}, saved)


@pytest.mark.skipif(not STATUS.exists(), reason="reads the mapped memory from /proc")
def test_a_piece_is_in_memory_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """64 MB in pieces of 8 MB; mapped as a whole it would all be there, beside what it is copied into."""
    monkeypatch.setattr(tensor_file, "_MAPPED", 8 << 20)
    tensors = {"large": torch.zeros(1 << 18, 48), "small": torch.zeros(1 << 18, 16)}
    save_file({name: torch.ones_like(tensor) for name, tensor in tensors.items()}, tmp_path / "large.safetensors")
    mapped = []

    class Watched(TensorFile):
        def __getitem__(self, name: str) -> torch.Tensor:
            mapped.append(_mapped())
            return super().__getitem__(name)

    fill(tensors, Watched(tmp_path / "large.safetensors"))
    assert all(bool((tensor == 1).all()) for tensor in tensors.values())
    assert len(mapped) >= 2 + 8
    assert max(mapped) - mapped[0] < 12 << 20


def _mapped() -> int:
    """Bytes of files that are in this process's memory."""
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith("RssFile:"))
    return int(line.split()[1]) * 1024
