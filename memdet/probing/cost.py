"""What a score costs: network evaluations, counted per item."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field


@dataclass
class Cost:
    """Evaluations per item. An evaluation that all items of a sample set share counts as a share of one.

    Attributes:
        forwards: Network forwards of one item and one branch.
        jvps: Forward-mode Jacobian products.
        vjps: Reverse-mode Jacobian products.
        seconds: Time of the whole batch in evaluations that another detector had already made.
        by_dev: Whether constants of the dev split went into the score, which nobody pays for.
    """

    forwards: float = 0.0
    jvps: float = 0.0
    vjps: float = 0.0
    seconds: float = 0.0
    by_dev: bool = False

    def add(self, other: Cost, share: float = 1.0) -> None:
        """Add ``share`` times another cost."""
        self.forwards += share * other.forwards
        self.jvps += share * other.jvps
        self.vjps += share * other.vjps
        self.seconds += share * other.seconds

    def count(self, *, forwards: int = 0, jvps: int = 0, vjps: int = 0) -> None:
        """Add evaluations."""
        self.add(Cost(forwards, jvps, vjps))


@dataclass
class Ledger:
    """The account of one detector: what it paid, and for what already."""

    cost: Cost = field(default_factory=Cost)
    paid: set[Hashable] = field(default_factory=set)
    supervised: bool = False
