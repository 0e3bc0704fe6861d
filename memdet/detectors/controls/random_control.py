"""Control: random scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memdet.detectors.base import Detector, DetectorInfo

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class RandomScore(Detector):
    """A random number from the seed and the item: what no detector at all looks like."""

    info = DetectorInfo(name="random", title="random number", access="none", cost="none")

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        return probe.uniform()
