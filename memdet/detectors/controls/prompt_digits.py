"""Control: digits in the prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memdet.detectors.base import Detector, DetectorInfo

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class PromptDigits(Detector):
    """Share of characters that are digits."""

    info = DetectorInfo(
        name="prompt-digits", title="share of digits", access="text", task="prompt", cost="none", seeded=False
    )

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        import torch

        shares = [sum(c.isdigit() for c in prompt) / max(1, len(prompt)) for prompt in probe.prompts]
        return torch.tensor(shares, dtype=torch.float64)
