"""Flux of the normalised score into a small sphere (Brokman et al. 2025)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from memdet.detectors.base import Detector, DetectorInfo

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class InwardFlux(Detector):
    """``-mean_k u_k . n(x + r u_k)`` with ``n = s_c / norm(s_c)``, ``r = radius sqrt(d)`` and u_k unit vectors.

    Paper: Brokman et al., "Identifying Memorization of Diffusion Models through p-Laplace Analysis", 2025, arXiv
    2505.08246, for p = 1: by the divergence theorem ``div n = lim d / r mean_u u . n(x + r u)``, which is the
    1-Laplacian of log p. Around a sharp peak the score points inward everywhere. The factor ``d / r``, the same for all
    items, is left out: the score lies between -1 and 1. The u_k are Gaussian vectors of unit length, uniform on the
    sphere, the same for all items of a seed.

    Attributes:
        directions: N.
        radius: Of the sphere, in units of sqrt(d): as a share of the length of unit noise.
        t: Timestep on the unguided conditional trajectory; none means pure noise and the first step. The paper looks
            at samples that are already generated, hence 1.
        draw: Which random vectors; another number takes others at the same noise.
    """

    info = DetectorInfo(
        name="p-laplace",
        title="inward flux of the normalised score over a small sphere",
        paper="brokman2025identifying",
        year=2025,
        access="score",
        cost="directions F + to_t F",
    )
    directions: PositiveInt = 10
    radius: PositiveFloat = 0.01
    t: int | None = 1
    draw: NonNegativeInt = 0

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        import torch

        x, t = probe.at(self.t)
        r = self.radius * x[0].numel() ** 0.5
        inward = []
        for gaussian in probe.directions(self.directions, "gaussian", draw=self.draw):
            u = gaussian / gaussian[0].norm()
            score = probe.score(x + r * u, t, "cond").double().flatten(1)
            inward.append(-(u.double().flatten(1) * score).sum(dim=1) / score.norm(dim=1))
        return torch.stack(inward).mean(dim=0)
