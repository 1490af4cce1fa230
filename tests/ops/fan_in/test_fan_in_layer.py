import pytest
import torch
from ops.cases import SERVING, dtype_of, random_layer

from xmc.ops.fan_in import fan_in_linear


@pytest.mark.parametrize("backend", SERVING)
def test_a_part_is_the_layer_of_its_groups(backend: str) -> None:
    """Also where it ends in a smaller group: 22 labels in groups of 5, of which the last has 2."""
    features, layer, _ = random_layer(3, 22, 16, 4, 0, group_size=5, dtype=dtype_of(backend))
    assert layer.group_size == 5
    part = layer.part(slice(3, 5))
    assert (len(part), part.group_size, part.label_offset) == (7, 5, 15)
    assert part.part(slice(1, 2)).label_offset == 20
    whole = fan_in_linear(features, layer, backend=backend)
    assert torch.equal(fan_in_linear(features, part, backend=backend), whole[:, 15:])
