"""What became of some items and one detector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from memdet.probing import Cost


class Scored(NamedTuple):
    """What became of some items and one detector.

    Attributes:
        scores: One an item; NaN where there is none.
        statuses: ``ok``, ``error``, ``nonfinite`` or ``not-applicable``, one an item.
        cost: An item; its seconds are of all items.
        message: What went wrong, or what a user should know of the scores; empty if there is nothing.
    """

    scores: list[float]
    statuses: list[str]
    cost: Cost
    message: str

    @classmethod
    def joined(cls, parts: Sequence[Scored]) -> Scored:
        """Of several batches, whose items follow each other."""
        first, cost = parts[0], Cost()
        n = sum(len(part.scores) for part in parts)
        for part in parts:
            share = len(part.scores) / n
            cost.add(part.cost, share)
            cost.seconds += (1 - share) * part.cost.seconds
        if len(parts) == 1:
            return first
        return cls(
            [score for part in parts for score in part.scores],
            [status for part in parts for status in part.statuses],
            cost,
            next((part.message for part in parts if part.message), ""),
        )

    @property
    def by_dev(self) -> bool:
        """Whether constants of the dev split went into the scores."""
        return self.cost.by_dev

    def at(self, places: Sequence[int]) -> Scored:
        """The same, each item at another place: ``places`` holds the new ones."""
        order = sorted(range(len(places)), key=places.__getitem__)
        scores, statuses = [self.scores[old] for old in order], [self.statuses[old] for old in order]
        return Scored(scores, statuses, self.cost, self.message)
