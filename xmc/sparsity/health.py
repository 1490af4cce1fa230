"""Figures that tell whether a topology is healthy: how fast it turns over, how old it is, and how it spreads."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from xmc.distributed import ALONE, Processes

_SAMPLE = 256  # rows of the index that are followed one by one
_BLOCK = 1 << 14  # rows whose columns are counted together


class TopologyHealth:
    """Follows the connections of a layer from rewiring to rewiring, on a fixed sample of rows spread over the index.

    Turnover, ages and the spectral gap are those of the sample; column degrees count all rows. The gap compares the
    mask of the sample, a bipartite graph, with the best expander of its degrees (Sparse-IFT, arXiv 2303.11525).

    Where several processes have a part of the rows each, the sample is one of all rows, and all processes follow it.
    """

    def __init__(self, index_GK: Tensor, in_features: int, processes: Processes = ALONE) -> None:
        self._in_features = in_features
        self._processes = processes
        numbers = [number for (number,) in processes.all_of(len(index_GK))]
        n_groups, first = sum(numbers), sum(numbers[: processes.rank])
        rows = torch.linspace(0, n_groups - 1, min(_SAMPLE, n_groups), device=index_GK.device).long()
        self._rows = rows[(rows >= first) & (rows < first + len(index_GK))] - first
        self._columns = self._sampled(index_GK)
        self._born = torch.zeros(self._columns.shape, dtype=torch.int32, device=index_GK.device)

    def record(self, index_GK: Tensor, step: int) -> dict[str, float]:
        """Figures after the rewiring of `step`, since the one before.

        turnover: share of connections that are new. changed_rows: share of rows with a new one. age: steps since a
        connection grew. degree: rows a column serves; its Gini coefficient is 0 where all serve alike. spectral_gap:
        first minus second singular value of the mask, and the same for a Ramanujan graph of its mean degrees.
        """
        columns = self._sampled(index_GK)
        births = torch.full((len(columns), self._in_features), -1, dtype=torch.int32, device=columns.device)
        births.scatter_(1, self._columns.long(), self._born)
        born = births.gather(1, columns.long())
        old = born >= 0
        self._born = torch.where(old, born, step)
        self._columns = columns.clone()
        ages = (step - self._born).double()
        blocks = (rows.flatten().int() for rows in index_GK.split(_BLOCK))
        degrees = torch.stack([torch.bincount(columns, minlength=self._in_features) for columns in blocks]).sum(0)
        self._processes.add_up([degrees])
        first, second = self._singular_values()
        fan_in, mean_degree = columns.shape[1], columns.numel() / self._in_features
        return {
            "turnover": 1 - float(old.double().mean()),
            "changed_rows": float((~old).any(1).double().mean()),
            "age_mean": float(ages.mean()),
            "age_median": float(ages.median()),
            "degree_min": int(degrees.min()),
            "degree_max": int(degrees.max()),
            "degree_gini": gini(degrees),
            "spectral_gap": first - second,
            "spectral_gap_ramanujan": math.sqrt(fan_in * mean_degree)
            - math.sqrt(max(0.0, fan_in - 1))
            - math.sqrt(max(0.0, mean_degree - 1)),
        }

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint must keep of it."""
        return {"columns": self._columns, "born": self._born}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `tensors` gave."""
        self._columns = tensors["columns"].to(self._columns.device)
        self._born = tensors["born"].to(self._born.device)

    def _sampled(self, index_GK: Tensor) -> Tensor:
        """Rows of the sample, of all processes."""
        (columns,) = self._processes.gather(index_GK[self._rows].int())
        return columns.to(index_GK.dtype)

    def _singular_values(self) -> tuple[float, float]:
        mask = torch.zeros(len(self._columns), self._in_features, dtype=torch.float64)
        mask.scatter_(1, self._columns.long().cpu(), 1.0)
        small = mask @ mask.T if len(mask) <= self._in_features else mask.T @ mask
        values = torch.linalg.eigvalsh(small).clamp(min=0).sqrt()
        return float(values[-1]), float(values[-2]) if len(values) > 1 else 0.0


def gini(counts: Tensor) -> float:
    """Gini coefficient of non-negative counts: 0 where all are alike, towards 1 where one has everything."""
    ordered = counts.double().sort().values
    total, n = float(ordered.sum()), len(ordered)
    if total == 0:
        return 0.0
    ranks = torch.arange(1, n + 1, dtype=torch.float64, device=ordered.device)
    return float((2 * ranks - n - 1) @ ordered) / (n * total)
