import torch
from torch import nn
from torch.nn import functional as F

from xmc.estimate.live import CudaAutocast, LiveBytes


def test_a_layer_keeps_its_input_and_gives_it_back() -> None:
    """Linear, relu, sum: what relu gave stays for the backward pass, which ends with the gradient of the weight."""
    layer = nn.Linear(4, 5, bias=False, device="meta")
    inputs = torch.empty(3, 4, device="meta")
    with LiveBytes() as live:
        total = F.relu(layer(inputs)).sum()
        assert live.now == 4 * (3 * 5 + 1) and live.peak == 4 * 2 * 3 * 5
        total.backward()
        del total
    assert layer.weight.grad is not None and live.now == layer.weight.grad.nbytes == 4 * 4 * 5


def test_views_cost_nothing() -> None:
    with LiveBytes() as live:
        whole = torch.empty(8, 8, device="meta")
        assert whole.view(-1)[3:].untyped_storage().nbytes() == live.peak == 4 * 8 * 8


def test_products_are_narrow_and_norms_wide() -> None:
    layer, inputs = nn.Linear(4, 4, device="meta"), torch.empty(2, 4, device="meta")
    with CudaAutocast(True):
        product = layer(inputs)
        assert product.dtype == torch.bfloat16 and F.layer_norm(product, (4,)).dtype == torch.float32
    with CudaAutocast(False):
        assert layer(inputs).dtype == torch.float32


def test_attention_holds_no_square_of_the_length() -> None:
    heads = torch.empty(1, 2, 512, 4, device="meta")
    with LiveBytes() as live, CudaAutocast(False):
        F.scaled_dot_product_attention(heads, heads, heads, dropout_p=0.1)
    assert live.peak < 4 * 512 * 512
