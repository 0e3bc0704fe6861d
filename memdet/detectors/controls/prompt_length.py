"""Control: length of the prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memdet.detectors.base import DetectorInfo
from memdet.detectors.blind import BlindControl, Told

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from memdet.probing import Probe


class PromptLength(BlindControl):
    """Number of characters of the prompt."""

    info = DetectorInfo(
        name="prompt-length", title="characters of the prompt", access="text", task="prompt", cost="none", seeded=False
    )

    def values(self, told: Told | Probe) -> NDArray[np.float64]:
        """Score each item, ``[batch]``."""
        import numpy as np

        return np.array([len(prompt) for prompt in told.prompts], dtype=np.float64)
