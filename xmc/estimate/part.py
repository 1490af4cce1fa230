"""A part of what a run takes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """Of the memory, or of what is sent, in bytes. reclaimable: pages of files, which the system takes back when memory
    is short."""

    name: str
    bytes: int
    reclaimable: bool = False
