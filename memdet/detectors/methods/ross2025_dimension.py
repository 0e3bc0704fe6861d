"""Dimension of the manifold at an image, with and without its condition (Ross et al., ICLR 2025)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import NonNegativeInt, PositiveInt

from memdet.detectors.base import Detector, DetectorInfo, Headline

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class ManifoldMemorization(Detector):
    """Minus the local intrinsic dimension of the null branch at x_0, or another quantity at the same point.

    The dimension is ``D + sigma^2 (tr J + norm(s)^2)`` at ``alpha x_0``, FLIPD of Kamkari et al. (2024), with D the
    number of coordinates. x_0 is the item's image, or the end of the protocol's guided trajectory.

    Paper: Ross et al., "A Geometric Framework for Understanding Memorization in Generative Models", ICLR 2025, arXiv
    2411.00113: an image is memorized where the model's manifold has too few dimensions. A condition can lower the
    dimension and never raises it. A low dimension of the null branch therefore marks images that are memorized even
    without their caption; ``flipd`` is the dimension of the conditional branch. The two norms (see ``statistic``) are
    taken at a noisy copy ``alpha x_0 + sigma eps``. The score has length ``sqrt(D - dimension) / sigma`` there, so a
    large score means few dimensions. At ``alpha x_0`` itself the norm would mean nothing: memorized images have nearly
    no score there.

    Attributes:
        statistic: ``flipd-null`` and ``flipd-cond``: minus the dimension of that branch. ``flipd-gap``: by how much the
            condition lowers the dimension, with the sign of the paper's Proposition 2. ``difference-norm``: ``norm(s_c
            - s_u)``. ``score-norm``: ``norm(s_c)``.
        t: Timestep, the nearest of the trajectory's.
        probes: Number of Rademacher vectors for the trace.
        estimator: ``hutchinson`` estimates the trace from the probes. ``exact`` computes the whole spectrum, for closed
            forms and small networks only.
        draw: Number of the set of random vectors. Another number gives other vectors at the same noise.
    """

    info = DetectorInfo(
        name="ross2025",
        title="minus the local intrinsic dimension without the condition, by the Fokker-Planck equation",
        paper="ross2025geometric",
        year=2025,
        access="gradient",
        cost="2 T F + 1 F + probes VJP (no trajectory for images; both branches for the gap, no VJP for the norms)",
        fidelity="deviates",
        deviation=(
            "The paper's timestep and number of probes are not known to us; t = 50 and 4 probes are those of flipd "
            "here. The paper also looks at training images, through the autoencoder; here the images are those of the "
            "sample set."
        ),
        headline=Headline(source="Figure 5, distributions over memorized and other images; no AUROC is reported"),
    )
    statistic: Literal["flipd-null", "flipd-cond", "flipd-gap", "difference-norm", "score-norm"] = "flipd-null"
    t: int = 50
    probes: PositiveInt = 4
    estimator: Literal["hutchinson", "exact"] = "hutchinson"
    draw: NonNegativeInt = 0

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        t = probe.nearest_timestep(self.t)
        sigma, x = probe.model.schedule.sigma(t), probe.model.schedule.alpha(t) * probe.clean()
        noisy = x + sigma * probe.noise
        if self.statistic == "difference-norm":
            difference: Tensor = probe.difference(noisy, t).double().flatten(1).norm(dim=1)
            return difference / sigma
        if self.statistic == "score-norm":
            length: Tensor = probe.score(noisy, t, "cond").double().flatten(1).norm(dim=1)
            return length
        if self.statistic == "flipd-gap":
            return self._dimension(probe, x, t, "null") - self._dimension(probe, x, t, "cond")
        return -self._dimension(probe, x, t, "null" if self.statistic == "flipd-null" else "cond")

    def _dimension(self, probe: Probe, x: Tensor, t: int, branch: Literal["cond", "null"]) -> Tensor:
        from memdet.curvature import hutchinson

        if self.estimator == "exact":
            trace = probe.spectrum(x, t, branch).sum(dim=1)
        else:
            directions = probe.directions(self.probes, draw=self.draw)
            trace = hutchinson(lambda v: probe.jacobian_product(x, t, branch, v, "vjp"), directions).value
        square = probe.score(x, t, branch).double().flatten(1).square().sum(dim=1)
        dimension: Tensor = x[0].numel() + probe.model.schedule.sigma(t) ** 2 * (trace + square)
        return dimension
