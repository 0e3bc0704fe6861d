"""How few tokens attend at the first step (memdet's own)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memdet.detectors.base import Detector, DetectorInfo
from memdet.errors import NotApplicableError

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class AttentionFocus(Detector):
    """``sum_k a_k log a_k``: minus the entropy of the attention that one layer pays to tokens k.

    The layer is the last one of the downsampling half. The attention is that of the conditional branch at the starting
    noise, averaged over heads and pixels before the entropy is taken. The idea: a few words of a memorized prompt
    distinguish it from similar prompts, and these words get much attention. In models whose attention is spread over
    the tokens of ordinary prompts (small text encoders with short captions), this lowers the entropy. In Stable
    Diffusion, the first token gets most of the attention of ordinary prompts; there the same effect raises the entropy,
    and ``ren2024-layer-entropy`` is the detector to use.
    """

    info = DetectorInfo(
        name="attention-focus",
        title="minus the entropy of the last cross-attention in the downsampling half, first step",
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
