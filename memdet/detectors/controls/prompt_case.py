"""Control: letter case of the prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memdet.detectors.base import Detector, DetectorInfo

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class PromptCase(Detector):
    """Share of words that start with a capital letter: AUROC .989 on the standard Stable Diffusion 1.4 prompts."""

    info = DetectorInfo(
        name="prompt-case", title="share of capitalised words", access="text", task="prompt", cost="none", seeded=False
    )

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        import torch

        shares = []
        for prompt in probe.prompts:
            words = prompt.split()
            shares.append(sum(word[0].isupper() for word in words) / max(1, len(words)))
        return torch.tensor(shares, dtype=torch.float64)
