"""An estimate as a table and a verdict."""

from collections.abc import Iterable

from xmc.estimate.memory import MIB, Estimate
from xmc.estimate.part import Part
from xmc.estimate.remedies import Remedy


def table(estimate: Estimate) -> str:
    """What is always there, the largest moment part by part, the others by their sum."""
    largest = estimate.largest
    lines = [f"| {estimate.device} | MiB |", "|---|---|", *_rows(estimate.always)]
    lines += _rows(part for part in largest.parts if part.bytes)
    lines.append(f"| **peak**, in {largest.name} | **{_mib(estimate.peak)}** |")
    lines.append(f"| of it needed at all events | {_mib(estimate.needed)} |")
    others = sorted((m for m in estimate.moments if m is not largest), key=lambda moment: -moment.bytes)
    short = ", ".join(f"{moment.name} {_mib(moment.bytes)}" for moment in others)
    lines += ["", f"beside what is always there, {largest.name} takes {_mib(largest.bytes)} MiB; {short}"]
    if estimate.host:
        total = sum(part.bytes for part in estimate.host)
        parts = ", ".join(f"{part.name} {_mib(part.bytes)}" for part in estimate.host)
        lines.append(f"in the machine's memory {_mib(total)} MiB: {parts}")
    if estimate.traffic:
        total = sum(part.bytes for part in estimate.traffic)
        parts = ", ".join(f"{part.name} {part.bytes / MIB:,.1f}" for part in estimate.traffic)
        lines.append(f"sent by each device in a step {total / MIB:,.1f} MiB: {parts}")
        lines.append(
            "this is the first device; the others neither learn the lexical half nor bring all labels together"
        )
    return "\n".join([*lines, *(f"not known: {text}" for text in estimate.unknown)])


def verdict(estimate: Estimate, memory: int, best: list[Remedy], together: Remedy | None) -> str:
    """Whether it fits, and what would make it."""
    fits = estimate.needed <= memory
    lines = [f"{'fits' if fits else 'does not fit'} {_mib(memory)} MiB"]
    if fits:
        return lines[0]
    lines += ["what saves most:" if best else "no setting here makes it smaller"]
    lines += [
        f"  {remedy.overrides}: {_mib(remedy.needed)} MiB{', which fits' if remedy.needed <= memory else ''}"
        for remedy in best
    ]
    if together is not None and not any(remedy.needed <= memory for remedy in best):
        lines.append(f"together: {together.overrides}: {_mib(together.needed)} MiB, which fits")
    elif together is None:
        lines.append("all that is tried here together does not make it fit")
    return "\n".join(lines)


def _rows(parts: Iterable[Part]) -> list[str]:
    return [f"| {part.name} | {_mib(part.bytes)} |" for part in parts]


def _mib(size: int) -> str:
    return f"{size / MIB:,.0f}"
