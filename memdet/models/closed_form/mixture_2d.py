"""The model ``mixture-2d``: a tight and a broad mode in the plane."""

from __future__ import annotations

import numpy as np
import torch

from memdet.models.closed_form.mixture import GaussianMixture
from memdet.models.schedule import NoiseSchedule


def mixture_2d(device: torch.device) -> GaussianMixture:
    """Two modes in the plane, tight and broad, in the ratio 5 : 95 (the toy example of arXiv 2412.04140)."""
    return GaussianMixture(
        "mixture-2d",
        means=torch.tensor([[-2.0, 0.0], [1.0, 0.0]], dtype=torch.float64, device="cpu"),
        stds=[0.02, 1.0],
        weights=[0.05, 0.95],
        conditions={"tight": [1.0, 0.0], "broad": [0.0, 1.0]},
        schedule=NoiseSchedule.from_betas(np.linspace(1e-4, 0.02, 1_000)),
        device=device,
    )
