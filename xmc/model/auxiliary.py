"""The auxiliary objective: predict clusters of similar labels with a small dense head.

Early in training, few random connections carry a poor gradient to the encoder; the head carries a good one
("Navigating Extremes", NeurIPS 2024, section 3.3).
"""

import torch
from torch import Tensor, nn

from xmc.distributed import ALONE, Processes
from xmc.model.dense import Dense
from xmc.model.sharded import shared
from xmc.types import Positives
from xmc.values import LossName


class ClusterHead(nn.Module):
    """A dense classifier of C clusters whose positives are the clusters of a document's labels.

    clusters: int64 [L], from 0 to C - 1. Its loss is summed over clusters and averaged over documents, like the main
    loss over labels, so that the two weigh on one scale. processes: that share the clusters, as they do the labels.
    """

    clusters: Tensor

    def __init__(
        self, in_features: int, clusters_L: Tensor, *, generator: torch.Generator, processes: Processes = ALONE
    ) -> None:
        super().__init__()
        self.register_buffer("clusters", clusters_L)
        number = int(clusters_L.max()) + 1
        own = Dense(
            in_features,
            number,
            generator=generator,
            shard=processes.shard_of_labels(number, "clusters of auxiliary=clusters"),
        )
        self.classifier = shared(own, processes, number)

    def step(self, features_BD: Tensor, positives: Positives, loss: LossName, scale: float) -> tuple[Tensor, Tensor]:
        """As `Classifier.step`, on the clusters."""
        return self.classifier.step(features_BD, self.targets(positives), loss, scale)

    def targets(self, positives: Positives) -> Positives:
        """Clusters of each document's labels, each once."""
        num_clusters = self.classifier.num_labels
        pairs = torch.unique(positives.documents() * num_clusters + self.clusters[positives.labels])
        return Positives.of_pairs(pairs // num_clusters, pairs % num_clusters, len(positives))
