"""What a plan says of a piece of work: so many prompts with so many noise seeds, how long and how much memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from memdet.benching.projection.roofline import Plan
from memdet.tables.numbers import counted, percent, quantity
from memdet.tables.table import Table, left, right

FIELDS = ("prompts", "seeds", "efficiency_assumed", "seconds")
_UNITS = ((172_800.0, 86_400.0, "days"), (7_200.0, 3_600.0, "h"), (120.0, 60.0, "min"))


@dataclass(frozen=True)
class Work:
    """What is to be scored.

    Attributes:
        prompts: How many.
        seeds: Noise seeds, of each.
        efficiency: Share of the published peaks that the device is taken to reach; 1 makes times a lower bound.
    """

    prompts: int
    seeds: int = 1
    efficiency: float = 1.0

    @property
    def items(self) -> int:
        """Prompts times seeds."""
        return self.prompts * self.seeds

    def seconds(self, of_item: float | None) -> float | None:
        """For all of them, one detector by itself; None where it does not fit.

        Args:
            of_item: At the peaks.

        Example:
            >>> Work(1_000, 4, efficiency=0.5).seconds(0.25)
            2000.0
        """
        return None if of_item is None else self.items * of_item / self.efficiency


def duration(seconds: float | None) -> str:
    """A time in the unit that a person would take.

    Example:
        >>> [duration(value) for value in (12.3, 600.0, 90_000.0, 400_000.0, None)]
        ['12.3 s', '10 min', '25 h', '4.63 days', 'does not fit']
    """
    if seconds is None:
        return "does not fit"
    for least, size, unit in _UNITS:
        if seconds >= least:
            return f"{quantity(seconds / size)} {unit}"
    return f"{quantity(seconds)} s"


def work_row(plan: Plan, index: int, work: Work) -> dict[str, Any]:
    """What rows of a plan hold besides; ``seconds`` of all items, of one detector by itself."""
    return {
        "prompts": work.prompts,
        "seeds": work.seeds,
        "efficiency_assumed": work.efficiency,
        "seconds": work.seconds(plan.projections[index].seconds),
    }


def answer(plan: Plan, work: Work) -> str:
    """The answer in one sentence or two.

    Detectors of one run share evaluations, so together they take no less than the dearest and no more than all of them
    one after the other.
    """
    found = [work.seconds(one.seconds) for one in plan.projections]
    times = [value for value in found if value is not None]
    asked = (
        f"{work.prompts:,} prompt{'s' * (work.prompts != 1)} x {counted(work.seeds, 'noise seed')} with "
        f"{counted(len(plan.projections), 'detector')} on one {plan.device.title}"
    )
    if not times:
        return f"{asked}: nothing fits into its {plan.device.memory / 1e9:g} GB."
    memory = max(one.memory for one in plan.projections if one.seconds is not None)
    least = "at least " if work.efficiency == 1 else ""
    first = f"{asked}: {least}{duration(max(times))}"
    if len(times) > 1:
        first += f" where they share all evaluations, {least}{duration(sum(times))} where they share none"
    left_out = f", without {counted(len(found) - len(times), 'detector')} that would not fit"
    peaks = (
        "Devices reach only a part of their peaks: measure yours with memdet bench, and give that part by --efficiency."
        if work.efficiency == 1
        else f"The device is taken to reach {percent(work.efficiency)} of its peaks."
    )
    return (
        f"{first}; {quantity(memory / 1e9)} GB{left_out if len(times) < len(found) else ''}. Only network "
        f"calls are counted: loading, text encoder and autoencoder come on top. {peaks}"
    )


def work_table(plan: Plan, work: Work) -> Table:
    """A line for each detector: how long all of it takes by itself, and the memory."""
    rows = []
    for one in plan.projections:
        cost = " + ".join(f"{one.evaluations[unit]:g} {unit}" for unit in ("F", "JVP", "VJP") if one.evaluations[unit])
        rows.append([one.detector, cost or "0", duration(work.seconds(one.seconds)), quantity(one.memory / 1e9)])
    least = "at least" if work.efficiency == 1 else "time"
    return Table((*left("detector"), *left("per item and seed"), *right(least, best="low"), *right("GB")), rows)
