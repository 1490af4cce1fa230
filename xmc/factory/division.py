"""What several processes can train together."""

from collections.abc import Iterator

from xmc import config as c
from xmc.errors import XMCError


def check_divisible(config: c.TrainConfig) -> None:
    """Raise XMCError where several processes cannot train the run together; it says why, and the way out."""
    if reasons := [*_hindrances(config)]:
        told = "; ".join(reasons)
        raise XMCError(f"several processes cannot train this run: {told}. Or leave torchrun out: one process can")


def _hindrances(config: c.TrainConfig) -> Iterator[str]:
    if isinstance(config, c.FinetuneConfig):
        yield "rows of a trained model are taken over by one process; take xmc train"
    if (reason := config.classifier.undivided()) is not None:
        yield reason
    if not config.sparsity.divides:
        yield f"sparsity={config.sparsity.kind} is built for all labels; take set, rigl or static"
    if config.sparse_ift.transformed:
        yield f"sparse_ift={config.sparse_ift.kind} rewires layers that all processes have; take none"
