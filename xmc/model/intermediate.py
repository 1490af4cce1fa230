"""The optional layer between the encoder and the classifier."""

from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}


class Linear(nn.Module):
    """Dense layer of any width with a non-linearity: [B, in_features] -> [B, width].

    "Navigating Extremes" (Ullah et al., NeurIPS 2024, section 3.2) widens the features this way before a sparse layer.
    """

    def __init__(self, in_features: int, width: int, activation: str, dropout: float = 0.0) -> None:
        super().__init__()
        self.width = width
        self.activation = activation
        self.linear = nn.Linear(in_features, width)
        self.nonlinearity = ACTIVATIONS[activation]()
        self.dropout = nn.Dropout(dropout)

    def forward(self, features_BD: Tensor) -> Tensor:
        return self.dropout(self.nonlinearity(self.linear(features_BD)))


class Identity(nn.Identity):
    """No intermediate layer."""

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.width = in_features


def intermediate_config(layer: Linear | Identity) -> dict[str, object]:
    """What rebuilds the layer, as JSON."""
    if isinstance(layer, Identity):
        return {"kind": "identity"}
    return {"kind": "linear", "width": layer.width, "activation": layer.activation, "dropout": layer.dropout.p}


def build_intermediate(
    kind: str, in_features: int, *, width: int = 0, activation: str = "relu", dropout: float = 0.0
) -> Linear | Identity:
    return Identity(in_features) if kind == "identity" else Linear(in_features, width, activation, dropout)
