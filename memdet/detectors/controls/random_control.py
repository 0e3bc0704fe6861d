"""Control: random scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memdet.detectors.base import Detector, DetectorInfo

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class RandomScore(Detector):
    """A random number from the item: what no detector at all looks like.

    One is drawn for each item, under whatever noise seeds the others are averaged, so that a run and an audit of a set
    show one AUROC.
    """

    info = DetectorInfo(name="random", title="random number", access="none", cost="none", version=2, seeded=False)

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        return probe.uniform()
