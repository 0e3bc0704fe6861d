"""Score difference where the end token is attended to (Chen et al., ICLR 2025)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memdet.detectors.base import Detector, DetectorInfo, Headline
from memdet.errors import NotApplicableError

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class BrightEnding(Detector):
    """``mean_i norm(D_i * m) / mean(m)`` over all guided steps i, with ``D = eps_c - eps_u`` and a mask m of pixels.

    The mask is the cross-attention to the end token at the last step, averaged over heads and over the layers of
    highest resolution in the downsampling half.

    Paper: Chen, Liu, Shah, Xu, "Exploring Local Memorization in Diffusion Models via Bright Ending Attention", ICLR
    2025, arXiv 2410.21665: where a part of the image is memorized, the last step attends to the end token. The method
    therefore takes the norm of Wen et al. (2024) at these pixels. If the attention map is coarser than the latents, the
    mask is enlarged bilinearly; in Stable Diffusion it is not coarser. A mask that is equal everywhere gives the mean
    of ``norm(D)``.
    """

    info = DetectorInfo(
        name="bright-ending",
        title="norm of the score difference, weighted by attention to the end token",
        paper="chen2025exploring",
        year=2025,
        access="attention",
        task="prompt",
        cost="2 T F (1 F less with shared noise)",
        fidelity="faithful",
        headline=Headline(seeds=16, guidance=7.5, source="all 50 steps, n = 16"),
    )

    def map(self, probe: Probe) -> Tensor:
        """The mask m of each item, ``[batch, height, width]`` of the latents.

        Raises:
            NotApplicableError: The conditions are not text, or the network has no cross-attention on the way down.
        """
        import torch

        ends, trajectory = probe.end_positions, probe.trajectory()
        last = len(trajectory.timesteps) - 1
        x = trajectory.state(last)
        layers = probe.attention(x, trajectory.timesteps[last], "cond")
        down = [layer.weights for layer in layers if layer.name.startswith("down_blocks")]
        if not down:
            raise NotApplicableError("the network has no cross-attention on the way down")
        height = max(weights.shape[1] for weights in down)
        attention = torch.stack([weights for weights in down if weights.shape[1] == height]).mean(dim=0)
        mask = attention[torch.arange(len(ends), device=ends.device), :, :, ends]
        if mask.shape[1:] != x.shape[2:]:
            mask = torch.nn.functional.interpolate(mask[:, None], x.shape[2:], mode="bilinear")[:, 0]
        return mask

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        import torch

        mask, trajectory = self.map(probe).double(), probe.trajectory()
        norms = [
            (probe.difference(trajectory.state(index), t).double() * mask[:, None]).flatten(1).norm(dim=1)
            for index, t in enumerate(trajectory.timesteps)
        ]
        return torch.stack(norms).mean(dim=0) / mask.mean(dim=(1, 2))
