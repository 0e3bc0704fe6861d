"""Similarity of first-step score differences across seeds (NeMo, Hintersdorf et al., NeurIPS 2024)."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from memdet.detectors.base import Detector, DetectorInfo
from memdet.errors import NotApplicableError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from memdet.probing import Probe

WINDOW = 7
SMALLEST_WINDOW = 3


class DifferenceSimilarity(Detector):
    """``max_{i < j} SSIM(D_i, D_j)`` with D_i a difference at the first step from the i-th starting noise.

    Paper: Hintersdorf, Struppek et al., "Finding NeMo", NeurIPS 2024: a memorized prompt denoises every noise towards
    one image, so its first differences look alike. SSIM (Wang et al. 2004) is scikit-image's, the mean over channels
    and over all windows inside the image: uniform windows of 7 x 7, or of the largest odd size that fits; the data
    range is largest minus smallest value of the two differences together. Two differences without any contrast count 0.
    The official code takes three scales and a Gaussian window of 11 x 11, which latents of few pixels do not hold.

    Attributes:
        draws: Starting noises a seed, the seed's own among them.
        of: ``guidance``: ``D = e_c - e_u``. ``noise``: ``D = e_c - x_T``, each channel scaled to [0, 1], which is what
            the official code compares; one forward a draw.
    """

    info = DetectorInfo(
        name="nemo2024",
        title="largest SSIM of the first score differences of several noises",
        paper="hintersdorf2024finding",
        year=2024,
        access="score",
        cost="2 draws F (half of it with shared noise or of=noise)",
    )
    draws: Annotated[int, Field(ge=2)] = 10
    of: Literal["guidance", "noise"] = "guidance"

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        import torch

        shape = probe.model.latent_shape
        if len(shape) != 3:
            raise NotApplicableError(f"SSIM compares images, the model's samples have the shape {shape}")
        smallest = min(shape[1:])
        if smallest < SMALLEST_WINDOW:
            raise NotApplicableError(f"SSIM needs 3 x 3 pixels, the model's samples have {shape[1]} x {shape[2]}")
        window = min(WINDOW, smallest - 1 + smallest % 2)
        items = torch.stack([self._difference(probe, draw) for draw in range(self.draws)], dim=1).cpu().numpy()
        return torch.tensor(
            [max(_similarity(one, other, window) for one, other in combinations(item, 2)) for item in items],
            dtype=torch.float64,
        )

    def _difference(self, probe: Probe, draw: int) -> Tensor:
        trajectory = probe.trajectory(draw=draw)
        x, t = trajectory.state(0), trajectory.timesteps[0]
        if self.of == "guidance":
            return probe.difference(x, t).double()
        change = (probe.eps(x, t, "cond") - x).double()
        least, most = change.amin(dim=(2, 3), keepdim=True), change.amax(dim=(2, 3), keepdim=True)
        return (change - least) / (most - least)


def _similarity(one: NDArray[np.float64], other: NDArray[np.float64], window: int) -> float:
    from skimage.metrics import structural_similarity

    span = max(one.max(), other.max()) - min(one.min(), other.min())
    if span == 0:
        return 0.0
    return float(structural_similarity(one, other, win_size=window, data_range=span, channel_axis=0))
