"""Control: length of the prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memdet.detectors.base import Detector, DetectorInfo

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class PromptLength(Detector):
    """Number of characters of the prompt."""

    info = DetectorInfo(
        name="prompt-length", title="characters of the prompt", access="text", task="prompt", cost="none", seeded=False
    )

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        import torch

        return torch.tensor([len(prompt) for prompt in probe.prompts], dtype=torch.float64)
