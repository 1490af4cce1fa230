"""One job of several processes: who has which labels and documents, and what the processes do together."""

from xmc.distributed.joining import joined
from xmc.distributed.processes import ALONE, LostProcess, Processes
from xmc.distributed.shard import OwnRows, Rows, Shard

__all__ = ["ALONE", "LostProcess", "OwnRows", "Processes", "Rows", "Shard", "joined"]
