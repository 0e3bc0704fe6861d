"""Control: random scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memdet.detectors.base import DetectorInfo
from memdet.detectors.blind import BlindControl, Told

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from memdet.probing import Probe


class RandomScore(BlindControl):
    """A random number from the item: what no detector at all looks like.

    One is drawn for each item, under whatever noise seeds the others are averaged, so that a run and an audit of a set
    show one AUROC.
    """

    info = DetectorInfo(name="random", title="random number", access="none", cost="none", version=2, seeded=False)

    def values(self, told: Told | Probe) -> NDArray[np.float64]:
        """Score each item, ``[batch]``."""
        import numpy as np

        return np.asarray(told.uniform(), dtype=np.float64)
