"""The bytes of safetensors itself, of one process and of several."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from xmc.distributed import ALONE
from xmc.train.tensor_writer import write_tensors

TENSORS = {
    "float": torch.arange(15.0).view(3, 5),
    "turned": torch.arange(12.0).view(3, 4).T,
    "long": torch.arange(4),
    "index": torch.arange(7, dtype=torch.int16),
    "int": torch.arange(3, dtype=torch.int32),
    "half": torch.ones(5, dtype=torch.bfloat16),
    "float16": torch.ones(5, dtype=torch.float16),
    "double": torch.ones(2, dtype=torch.float64),
    "levels": torch.ones(3, dtype=torch.int8),
    "state": torch.arange(9, dtype=torch.uint8),
    "scalar": torch.tensor(2.0),
    "none": torch.empty(0, 3),
    "ä": torch.tensor([True, False]),
}


@pytest.mark.parametrize("metadata", [None, {"state": 'a "digest"'}])
@pytest.mark.parametrize("block", [8, 64 << 20])
def test_the_file_is_that_of_safetensors(
    tmp_path: Path, metadata: dict[str, str] | None, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xmc.distributed.processes._BLOCK", block)
    save_file({k: v.contiguous() for k, v in TENSORS.items()}, tmp_path / "theirs", metadata=metadata)
    write_tensors(tmp_path / "ours", TENSORS, ALONE, metadata)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
