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
    """A random number from the item: it shows what a score without any information looks like.

    There is one number per item, whatever the noise seed, so a run and an audit of a set show the same AUROC.
    """

    info = DetectorInfo(name="random", title="random number", access="none", cost="none", version=2, seeded=False)

    def values(self, told: Told | Probe) -> NDArray[np.float64]:
        """Score each item, ``[batch]``."""
        import numpy as np

        return np.asarray(told.uniform(), dtype=np.float64)
