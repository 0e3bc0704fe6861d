"""Flux of the normalised score into a small sphere (Brokman et al. 2025)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from memdet.detectors.base import Detector, DetectorInfo, Headline

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class InwardFlux(Detector):
    """``-mean_k u_k . n(x + r u_k)`` with ``n = s_c / norm(s_c)``, ``r = radius sigma_t sqrt(d)`` and u_k unit vectors.

    The centre is ``x = alpha_t x_0``, where x_0 is the item's image, or the latent of the finished guided image.

    Paper: Brokman et al., "Identifying Memorization of Diffusion Models through p-Laplace Analysis", 2025, arXiv
    2505.08246, for p = 1. By the divergence theorem ``div n = lim d / r mean_u u . n(x + r u)``, which is the
    1-Laplacian of log p. Around a sharp peak, the score points inward everywhere. The factor ``d / r`` is the same for
    all items and is left out, so the score lies between -1 and 1. The radius is the usual length of the noise at t, so
    points of the sphere are like noisy versions of the image. The u_k are normalised Gaussian vectors (uniform on the
    sphere), the same for all items of a seed. The paper's 8 batches of 128 directions are expensive; ``directions=32``
    is a cheap variant.

    Attributes:
        directions: Number of directions u_k.
        radius: Radius of the sphere, in units of ``sigma_t sqrt(d)``.
        t: Timestep, any of the schedule.
        draw: Number of the set of random vectors. Another number gives other vectors at the same noise.
    """

    info = DetectorInfo(
        name="p-laplace",
        title="inward flux of the normalised score over a small sphere",
        paper="brokman2025identifying",
        year=2025,
        version=2,
        access="score",
        cost="2 T F + directions F (no trajectory for images)",
        fidelity="faithful",
        headline=Headline("directions=1024,t=10", guidance=7.5, source="8 x 128 directions on the finished image"),
    )
    directions: PositiveInt = 1024
    radius: PositiveFloat = 1.0
    t: NonNegativeInt = 10
    draw: NonNegativeInt = 0

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        schedule = probe.model.schedule
        schedule.check(self.t)
        x = schedule.alpha(self.t) * probe.clean()
        r = self.radius * schedule.sigma(self.t) * x[0].numel() ** 0.5
        total: Tensor | None = None
        for gaussian in probe.directions(self.directions, "gaussian", draw=self.draw):
            u = gaussian / gaussian[0].norm()
            score = probe.score(x + r * u, self.t, "cond").double().flatten(1)
            inward = -(u.double().flatten(1) * score).sum(dim=1) / score.norm(dim=1)
            total = inward if total is None else total + inward
        assert total is not None
        return total / self.directions
