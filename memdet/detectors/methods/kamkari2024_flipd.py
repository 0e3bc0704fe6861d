"""Local intrinsic dimension by the Fokker-Planck equation (Kamkari et al., NeurIPS 2024)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import NonNegativeInt, PositiveInt

from memdet.detectors.base import Detector, DetectorInfo, Headline

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class Flipd(Detector):
    """``-[D + sigma^2 (tr J_c + norm(s_c)^2)]`` at ``alpha x_0``, with D the number of dimensions.

    Papers: Kamkari, Ross, Hosseinzadeh, Cresswell, Loaiza-Ganem, "A Geometric View of Data Complexity: Efficient Local
    Intrinsic Dimension Estimation with Diffusion Models", NeurIPS 2024, arXiv 2406.03537; Ross et al. 2025 for
    memorization. When noise is added, the log density at x_0 falls at a rate that the Fokker-Planck equation gives. As
    the noise goes to zero, the expression in the brackets becomes the local intrinsic dimension at x_0. A memorized
    sample has a low dimension. x_0 is the item's image, or the end of the protocol's guided trajectory; it is scaled by
    alpha, and no noise is added. alpha and sigma come from the model's own schedule. (A linear schedule would be wrong
    for a scaled-linear model: at t = 249 its sigma^2 is .429 instead of .325.)

    Attributes:
        t: Timestep, the nearest of the trajectory's.
        probes: Number of Rademacher vectors for the trace.
        backend: ``vjp`` (reverse AD; its products are cheaper, and J^T has the same trace as J), ``jvp`` (forward AD),
            ``fd`` (central difference) or ``fd-one-sided``.
        estimator: ``hutchinson`` estimates the trace from the probes. ``exact`` computes the whole spectrum, for closed
            forms and small networks only.
        draw: Number of the set of random vectors. Another number gives other vectors at the same noise.
    """

    info = DetectorInfo(
        name="flipd",
        title="minus the local intrinsic dimension, by the Fokker-Planck equation",
        paper="kamkari2024flipd",
        year=2024,
        access="gradient",
        cost="2 T F + 1 F + probes VJP (no trajectory for images)",
        fidelity="faithful",
        headline=Headline("t=50", guidance=7.5, source="local intrinsic dimension at low noise, of the finished image"),
    )
    t: int = 50
    probes: PositiveInt = 4
    backend: Literal["vjp", "jvp", "fd", "fd-one-sided"] = "vjp"
    estimator: Literal["hutchinson", "exact"] = "hutchinson"
    draw: NonNegativeInt = 0

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        from memdet.curvature import hutchinson

        t = probe.nearest_timestep(self.t)
        schedule = probe.model.schedule
        x = schedule.alpha(t) * probe.clean()
        if self.estimator == "exact":
            trace = probe.spectrum(x, t, "cond").sum(dim=1)
        else:
            trace = hutchinson(
                lambda v: probe.jacobian_product(x, t, "cond", v, self.backend),
                probe.directions(self.probes, draw=self.draw),
            ).value
        square = probe.score(x, t, "cond").double().flatten(1).square().sum(dim=1)
        dimension: Tensor = x[0].numel() + schedule.sigma(t) ** 2 * (trace + square)
        return -dimension
