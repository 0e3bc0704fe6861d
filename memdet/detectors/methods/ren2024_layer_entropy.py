"""Entropy of the cross-attention of one layer at the first step (Ren et al., ECCV 2024)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import PositiveInt

from memdet.detectors.base import Detector, DetectorInfo, Headline
from memdet.detectors.sink import Sink, demand_sink
from memdet.errors import NotApplicableError

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class LayerEntropy(Detector):
    """``sum_k -a_k log a_k`` with a_k the attention that one layer pays to token k at the first step.

    The attention is that of the conditional branch at the starting noise, averaged over heads and pixels before the
    entropy is taken.

    Paper: Ren et al., "Unveiling and Mitigating Memorization in Text-to-image Diffusion Models through Cross
    Attention", ECCV 2024, arXiv 2403.11052. With an ordinary prompt, the first token (the sink) takes nearly all
    attention, and the entropy is low. With a memorized prompt, attention stays on other tokens, and the entropy is
    **higher**. The fourth cross-attention layer of the downsampling half shows this before any step is taken. In models
    whose ordinary prompts have no sink, the paper's argument does not hold, see ``sink``.

    Attributes:
        layer: Cross-attention layer of the downsampling half, in the order of execution, from 1. A network with fewer
            layers has no score.
        sink: ``required``: the detector is not applicable unless the first token takes more than half of the attention
            of ordinary prompts. ``any``: it scores in any case.
    """

    info = DetectorInfo(
        name="ren2024-layer-entropy",
        title="entropy of one layer's cross-attention, first step",
        paper="ren2024unveiling",
        year=2024,
        version=2,
        access="attention",
        task="prompt",
        cost="1 F",
        fidelity="faithful",
        headline=Headline("layer=4", source="first step, mean over generations; no guidance is involved"),
    )
    layer: PositiveInt = 4
    sink: Sink = "required"

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        import torch

        trajectory = probe.trajectory()
        layers = probe.attention(trajectory.state(0), trajectory.timesteps[0], "cond")
        down = [layer for layer in layers if layer.name.startswith("down_blocks")]
        if self.layer > len(down):
            raise NotApplicableError(
                f"the network has {len(down)} cross-attention layers on the way down, so there is no layer {self.layer}"
            )
        if self.sink == "required":
            demand_sink(probe, 0)
        attention = down[self.layer - 1].weights.double().flatten(1, 2).mean(dim=1)
        entropy: Tensor = torch.special.entr(attention).sum(dim=1)
        return entropy
