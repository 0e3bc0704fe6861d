"""Control: digits in the prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memdet.detectors.base import DetectorInfo
from memdet.detectors.blind import BlindControl, Told

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from memdet.probing import Probe


class PromptDigits(BlindControl):
    """Share of characters that are digits."""

    info = DetectorInfo(
        name="prompt-digits", title="share of digits", access="text", task="prompt", cost="none", seeded=False
    )

    def values(self, told: Told | Probe) -> NDArray[np.float64]:
        """Score each item, ``[batch]``."""
        import numpy as np

        shares = [sum(c.isdigit() for c in prompt) / max(1, len(prompt)) for prompt in told.prompts]
        return np.array(shares, dtype=np.float64)
