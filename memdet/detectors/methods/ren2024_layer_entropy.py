"""Entropy of the cross-attention of one layer at the first step (Ren et al., ECCV 2024)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import PositiveInt

from memdet.detectors.base import Detector, DetectorInfo
from memdet.errors import NotApplicableError

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class LayerEntropy(Detector):
    """``sign * sum_k -a_k log a_k`` with a_k the attention that one layer pays to token k at the first step.

    The attention is that of the conditional branch at the starting noise, averaged over heads and pixels before the
    entropy is taken.

    Paper: Ren et al., "Unveiling and Mitigating Memorization in Text-to-image Diffusion Models through Cross
    Attention", ECCV 2024, arXiv 2403.11052: attention of memorized prompts falls on a few trigger tokens, and the
    fourth layer on the way down shows it before any step is taken. Their code scores plus the entropy; minus is the
    default here, since attention on few tokens has little of it.

    Attributes:
        layer: Cross-attention layer on the way down, in the order of execution, from 1. The paper's is the fourth; a
            network with fewer answers with its last.
        sign: Of the entropy.
    """

    info = DetectorInfo(
        name="ren2024-layer-entropy",
        title="minus the entropy of one layer's cross-attention, first step",
        paper="ren2024unveiling",
        year=2024,
        access="attention",
        task="prompt",
        cost="1 F",
    )
    layer: PositiveInt = 4
    sign: Literal["minus", "plus"] = "minus"

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        import torch

        trajectory = probe.trajectory()
        layers = probe.attention(trajectory.state(0), trajectory.timesteps[0], "cond")
        down = [layer for layer in layers if layer.name.startswith("down_blocks")]
        if not down:
            raise NotApplicableError("the network has no cross-attention on the way down")
        attention = down[min(self.layer, len(down)) - 1].weights.double().flatten(1, 2).mean(dim=1)
        entropy: Tensor = torch.special.entr(attention).sum(dim=1)
        return -entropy if self.sign == "minus" else entropy
