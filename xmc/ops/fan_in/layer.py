"""The layer that the op computes, as one value."""

from dataclasses import dataclass

from torch import Tensor

from xmc.ops.blocks import group_size, label_columns


@dataclass(frozen=True, slots=True)
class FanIn:
    """L labels, each connected to K of D features.

    weight: [L, K]. index: [G, K], the columns in [0, D), int16 while D <= 32767, else int32. bias: [L], float32 beside
    weights of half precision, else of their type. G = L gives each label columns of its own; a smaller G gives each
    group of n labels the same ones, where label l belongs to group l // n and only the last group may be smaller. A
    column that a row repeats counts as often. All tensors are contiguous and on one device.

    active: only the first so many slots of a row enter the output and the gradient of the features, while the weight
    gradient covers all K (the sets A and B of Top-KAST, arXiv 2106.03517); all, if None. label_offset: global id of the
    first label, for a shard of the labels. labels_a_group: n, where it is not L / G rounded up, as in a `part` that
    ends in a smaller group.
    """

    weight: Tensor
    index: Tensor
    bias: Tensor
    active: int | None = None
    label_offset: int = 0
    labels_a_group: int | None = None

    def __len__(self) -> int:
        return len(self.weight)

    @property
    def fan_in(self) -> int:
        """K."""
        return self.weight.shape[1]

    @property
    def n_active(self) -> int:
        """How many slots of a row enter the output."""
        return self.fan_in if self.active is None else self.active

    @property
    def group_size(self) -> int:
        """Labels that share a row of the index."""
        return self.labels_a_group or group_size(len(self.weight), len(self.index))

    def part(self, groups: slice) -> "FanIn":
        """A run of the groups, in the same memory."""
        size = self.group_size
        labels = slice(groups.start * size, min(groups.stop * size, len(self)))
        tensors = self.weight[labels], self.index[groups], self.bias[labels]
        return FanIn(*tensors, self.active, self.label_offset + labels.start, size)

    def columns(self, labels: slice) -> Tensor:
        """Columns of a run of labels, [l, K]."""
        return label_columns(self.index, labels, self.group_size)

    def active_connections(self, labels: slice) -> tuple[Tensor, Tensor]:
        """Weights and columns of the active slots of a run of labels, [l, active] each."""
        return self.weight[labels, : self.n_active], self.columns(labels)[:, : self.n_active]
