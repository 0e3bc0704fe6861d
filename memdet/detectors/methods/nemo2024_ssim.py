"""Similarity of first noise differences across seeds (NeMo, Hintersdorf et al., NeurIPS 2024)."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from memdet.detectors.base import Detector, DetectorInfo, Headline
from memdet.errors import NotApplicableError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from memdet.probing import Probe

WINDOW = 7
SMALLEST_WINDOW = 3


class DifferenceSimilarity(Detector):
    """``max_{i < j} SSIM(delta_i, delta_j)`` with ``delta_i = eps_c(x_T, T) - x_T`` from the i-th starting noise.

    Only the conditional branch is evaluated, so no guidance is involved. Each channel of a delta is scaled to [0, 1] by
    its own smallest and largest value; if these are equal, the channel is 0 everywhere.

    Paper: Hintersdorf, Struppek et al., "Finding NeMo: Localizing Neurons Responsible for Memorization in Diffusion
    Models", NeurIPS 2024, arXiv 2406.02366: a memorized prompt denoises every noise towards one image, so its first
    noise differences look alike. SSIM (Wang et al. 2004) is scikit-image's, the mean over channels and over all windows
    inside the image.

    Attributes:
        draws: Number of starting noises per seed, the seed's own among them.
        step: The step whose timestep the network is told; the sample is x_T in both cases. 0 is the first step, as the
            paper writes; 1 is the second, as in the official code.
    """

    info = DetectorInfo(
        name="nemo2024",
        title="largest SSIM of the first noise differences of several starting noises",
        paper="hintersdorf2024finding",
        year=2024,
        version=2,
        access="score",
        cost="draws F",
        fidelity="deviates",
        deviation=(
            "SSIM has one scale and uniform windows of 7 x 7, or of the largest odd size that fits. The official code "
            "uses three scales and a Gaussian window of 11 x 11, for which latents must have at least 44 pixels per "
            "side."
        ),
        headline=Headline("draws=10", source="10 noises a prompt; the first step knows no guidance"),
    )
    draws: Annotated[int, Field(ge=2)] = 10
    step: Literal[0, 1] = 0

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        import torch

        shape = probe.model.latent_shape
        if len(shape) != 3:
            raise NotApplicableError(f"SSIM compares images, the model's samples have the shape {shape}")
        smallest = min(shape[1:])
        if smallest < SMALLEST_WINDOW:
            raise NotApplicableError(f"SSIM needs 3 x 3 pixels, the model's samples have {shape[1]} x {shape[2]}")
        if self.step >= len(probe.timesteps):
            raise NotApplicableError(f"the protocol's trajectory has no step {self.step}")
        window = min(WINDOW, smallest - 1 + smallest % 2)
        items = torch.stack([self._difference(probe, draw) for draw in range(self.draws)], dim=1).cpu().numpy()
        return torch.tensor(
            [max(_similarity(one, other, window) for one, other in combinations(item, 2)) for item in items],
            dtype=torch.float64,
        )

    def _difference(self, probe: Probe, draw: int) -> Tensor:
        probe.refuse_pure_noise(probe.timesteps[self.step])
        x = probe.trajectory(draw=draw).state(0)
        change = (probe.eps(x, probe.timesteps[self.step], "cond") - x).double()
        least, most = change.amin(dim=(2, 3), keepdim=True), change.amax(dim=(2, 3), keepdim=True)
        return (change - least) / (most - least).where(most > least, 1.0)


def _similarity(one: NDArray[np.float64], other: NDArray[np.float64], window: int) -> float:
    from skimage.metrics import structural_similarity

    return float(structural_similarity(one, other, win_size=window, data_range=1.0, channel_axis=0))
