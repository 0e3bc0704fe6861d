"""Similarity of first-step score differences across seeds (NeMo, Hintersdorf et al., NeurIPS 2024)."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Annotated

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
    """``max_{i < j} SSIM(D_i, D_j)`` with D_i the score difference at the first step from the i-th starting noise.

    Paper: Hintersdorf, Struppek et al., "Finding NeMo", NeurIPS 2024: a memorized prompt denoises every noise towards
    one image, so its first differences look alike. SSIM (Wang et al. 2004) is scikit-image's, the mean over channels
    and over all windows inside the image: uniform windows of 7 x 7, or of the largest odd size that fits; the data
    range is largest minus smallest value of the two differences together. Two differences without any contrast, those
    of the null condition, count 0.

    Attributes:
        draws: Starting noises a seed, the seed's own among them.
    """

    info = DetectorInfo(
        name="nemo2024",
        title="largest SSIM of the first score differences of several noises",
        paper="hintersdorf2024finding",
        year=2024,
        access="score",
        cost="2 draws F (half of it with shared noise)",
    )
    draws: Annotated[int, Field(ge=2)] = 10

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
        starts = [probe.trajectory(draw=draw) for draw in range(self.draws)]
        differences = torch.stack([probe.difference(start.state(0), start.timesteps[0]) for start in starts], dim=1)
        items = differences.double().cpu().numpy()
        return torch.tensor(
            [max(_similarity(one, other, window) for one, other in combinations(item, 2)) for item in items],
            dtype=torch.float64,
        )


def _similarity(one: NDArray[np.float64], other: NDArray[np.float64], window: int) -> float:
    from skimage.metrics import structural_similarity

    span = max(one.max(), other.max()) - min(one.min(), other.min())
    if span == 0:
        return 0.0
    return float(structural_similarity(one, other, win_size=window, data_range=span, channel_axis=0))
