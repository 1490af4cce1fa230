"""The optional layer between the encoder and the classifier."""

from dataclasses import asdict

from torch import Tensor, nn

from xmc.model.sparse_ift import FAMILIES, IndexOf, SparseIFT

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}


class Linear(nn.Module):
    """A layer of any width with a non-linearity: [B, in_features] -> [B, width].

    "Navigating Extremes" (Ullah et al., NeurIPS 2024, section 3.2) widens the features this way before a sparse layer.
    transformation: the layer is a larger sparse one that costs as much as the dense one of `dense_width` outputs.
    """

    def __init__(
        self,
        in_features: int,
        width: int,
        activation: str,
        dropout: float = 0.0,
        transformation: SparseIFT | None = None,
        index_of: IndexOf | None = None,
    ) -> None:
        super().__init__()
        self.dense_width = width
        self.activation = activation
        self.transformation = transformation
        nonlinearity = ACTIVATIONS[activation]()
        if transformation is None:
            self.width = width
            self.body: nn.Module = nn.Sequential(nn.Linear(in_features, width), nonlinearity)
        else:
            assert index_of is not None
            family = FAMILIES[transformation.kind]
            self.body = layer = family(in_features, width, transformation.sparsity, nonlinearity, index_of)
            self.width = layer.out_features
        self.dropout = nn.Dropout(dropout)

    def forward(self, features_BD: Tensor) -> Tensor:
        return self.dropout(self.body(features_BD))


class Identity(nn.Identity):
    """No intermediate layer."""

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.width = in_features


def intermediate_config(layer: Linear | Identity) -> dict[str, object]:
    """What rebuilds the layer, as JSON."""
    if isinstance(layer, Identity):
        return {"kind": "identity"}
    return {
        "kind": "linear",
        "width": layer.dense_width,
        "activation": layer.activation,
        "dropout": layer.dropout.p,
        "transformation": layer.transformation and asdict(layer.transformation),
    }
