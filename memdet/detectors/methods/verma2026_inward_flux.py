"""How much more of the score flows into a small sphere about the sample under the condition (Verma et al. 2026)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field, NonNegativeInt, PositiveInt

from memdet.detectors.base import TOLERANCE_OF_DIFFERENCES, Detector, DetectorInfo, Headline

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class InwardFlux(Detector):
    """Mean over directions u of ``-u . [D(x + r u) - D(x - r u)] / 2`` with ``D = s_c - s_u`` and ``r = radius sigma``.

    This is the inward part of the score difference, averaged over a small sphere. By the divergence theorem it is
    ``-r / d`` times the trace of its Jacobian, averaged over the ball. Directions come in opposite pairs; in the
    difference of a pair, the value at x itself cancels. x is alpha times x_0. x_0 is the image, or the end of the
    guided trajectory, after some cycles of noise and denoising: ``x_0 <- (x_t - sigma eps_c(x_t, t)) / alpha`` at
    ``x_t = alpha x_0 + sigma eps`` with fresh noise. The cycles bring it towards a mode of the model.

    Attributes:
        t: Timestep, the nearest of the trajectory's.
        cycles: Number of cycles of noise and denoising.
        directions: Number of pairs of opposite directions, uniform on the sphere.
        radius: Radius of the sphere, in sigma. In half precision, rounding destroys differences over a small sphere.
            The flux is then computed from its derivative at x, ``-r u . J_D u``, by forward AD, and is counted as JVPs.
    """

    info = DetectorInfo(
        name="verma2026",
        title="inward flux of the score difference through a small sphere about the sample",
        paper="verma2026flux",
        year=2026,
        access="score",
        cost="2 T F + cycles F + 4 directions F (no trajectory for images)",
        tolerance=TOLERANCE_OF_DIFFERENCES,
        fidelity="deviates",
        deviation=(
            "the paper is known to us only by a summary: a difference of inward fluxes on a sphere of radius .01 "
            "sigma, after denoising cycles. memdet takes the difference to be that of the two branches. The timestep "
            "and the numbers of cycles and directions are memdet's choice."
        ),
        headline=Headline(guidance=7.5, source="not known; radius .01 sigma is the paper's"),
    )
    t: NonNegativeInt = 50
    cycles: NonNegativeInt = 3
    directions: PositiveInt = 8
    radius: Annotated[float, Field(gt=0)] = 0.01

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        import torch

        from memdet.curvature.products import default_step, resolves_differences

        t, schedule = probe.nearest_timestep(self.t), probe.model.schedule
        alpha, sigma, clean = schedule.alpha(t), schedule.sigma(t), probe.clean()
        for cycle in range(self.cycles):
            x = alpha * clean + sigma * probe.starting_noise(1 + cycle)
            clean = probe.clean_of(x, t, "cond")
        x, radius = alpha * clean, self.radius * sigma
        smallest = default_step(x.dtype, "fd") * x[0].numel() ** 0.5  # of a difference that rounding leaves
        fluxes, by_derivative = [], not resolves_differences(x.dtype) and radius < smallest
        if by_derivative:
            probe.note(
                "the flux by its derivative at the centre, 2 JVP a direction, not by differences, which rounding "
                f"drowns in {str(x.dtype).removeprefix('torch.')}"
            )
        for vector in probe.directions(self.directions, "gaussian"):
            u = vector / vector.flatten(1).norm(dim=1).view(-1, *[1] * (vector.ndim - 1))
            if by_derivative:
                cond, null = probe.both_products(x, t, u, "jvp")
                change = (null - cond).double() * (2 * sigma * radius)
            else:
                ahead, behind = (probe.difference(x + sign * radius * u, t).double() for sign in (1, -1))
                change = ahead - behind
            fluxes.append((u.double() * change).flatten(1).sum(dim=1) / (2 * sigma))
        return torch.stack(fluxes).mean(dim=0)  # the score is minus the noise over sigma
