"""Control: letter case of the prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memdet.detectors.base import DetectorInfo
from memdet.detectors.blind import BlindControl, Told

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from memdet.probing import Probe


class PromptCase(BlindControl):
    """Share of words that start with a capital letter: AUROC .989 on the standard Stable Diffusion 1.4 prompts."""

    info = DetectorInfo(
        name="prompt-case", title="share of capitalised words", access="text", task="prompt", cost="none", seeded=False
    )

    def values(self, told: Told | Probe) -> NDArray[np.float64]:
        """Score each item, ``[batch]``."""
        import numpy as np

        shares = []
        for prompt in told.prompts:
            words = prompt.split()
            shares.append(sum(word[0].isupper() for word in words) / max(1, len(words)))
        return np.array(shares, dtype=np.float64)
