"""How few tokens attend at the first step (memdet's own)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memdet.detectors.base import Detector, DetectorInfo
from memdet.errors import NotApplicableError

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class AttentionFocus(Detector):
    """``sum_k a_k log a_k``, minus the entropy of the attention that the last layer on the way down pays to tokens k.

    The attention is that of the conditional branch at the starting noise, averaged over heads and pixels before the
    entropy is taken. A prompt that was learned with one image is told from its neighbours by few words. Where no token
    takes most of the attention of ordinary prompts, as in small text encoders with short captions, attention to these
    few words lowers the entropy. Where the first token takes most of it, as in Stable Diffusion, the same attention
    raises the entropy, and `ren2024-layer-entropy` is the detector to use.
    """

    info = DetectorInfo(
        name="attention-focus",
        title="minus the entropy of the last cross-attention on the way down, first step",
        year=2026,
        access="attention",
        task="prompt",
        cost="1 F",
        fidelity="ours",
    )

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        import torch

        trajectory = probe.trajectory()
        layers = probe.attention(trajectory.state(0), trajectory.timesteps[0], "cond")
        down = [layer for layer in layers if layer.name.startswith("down_blocks")]
        if not down:
            raise NotApplicableError("the network has no cross-attention on the way down")
        attention = down[-1].weights.double().flatten(1, 2).mean(dim=1)
        entropy: Tensor = torch.special.entr(attention).sum(dim=1)
        return -entropy
