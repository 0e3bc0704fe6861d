"""Map of coordinate-wise curvature differences (Kim and Lee, ICML 2026)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import NonNegativeInt, PositiveInt

from memdet.detectors.base import Detector, DetectorInfo, Headline
from memdet.errors import NotApplicableError

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class CurvatureMap(Detector):
    """Mean over pixels of ``relu(sum_channels -diag J_D)`` with ``J_D = J_c - J_u``, at the last guided step.

    Paper: Kim, Lee, "Localizing Memorized Regions in Diffusion Models via Coordinate-Wise Curvature Differences", ICML
    2026, arXiv 2605.26756: in a memorized region, the coordinates have nearly no variance under the condition, but keep
    their variance without it. The diagonal is estimated as the mean of ``v * J_D v`` over Rademacher vectors (Bekas et
    al. 2007), the same on both branches. Channels are summed before the relu. The paper draws the map, which ``map``
    gives; the score is its mean over pixels, which is memdet's choice. Where the diagonal is near zero, the relu of a
    noisy estimate is biased upward; more probes reduce the bias. In a sample that is no image, each coordinate is a
    pixel.

    Attributes:
        probes: Jacobian products per branch.
        t: Timestep on the guided trajectory; none means its last step, as in the paper.
        backend: ``vjp`` (reverse AD; its products are cheaper, and J^T has the same diagonal as J), ``jvp`` (forward
            AD), ``fd`` (central difference) or ``fd-one-sided``.
        estimator: ``probes``, or ``exact``: the diagonal itself, for small networks and closed forms only.
        draw: Number of the set of random vectors. Another number gives other vectors at the same noise.
    """

    info = DetectorInfo(
        name="curvature-map",
        title="mean of the map of curvature differences",
        paper="kim2026localizing",
        year=2026,
        version=3,
        access="gradient",
        cost="2 T F + 2 probes VJP",
        fidelity="faithful",
        headline=Headline("probes=16", guidance=7.5, source="the paper's maps"),
    )
    probes: PositiveInt = 16
    t: int | None = None
    backend: Literal["vjp", "jvp", "fd", "fd-one-sided"] = "vjp"
    estimator: Literal["probes", "exact"] = "probes"
    draw: NonNegativeInt = 0

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        mean: Tensor = self._excess(probe).flatten(1).mean(dim=1)
        return mean

    def map(self, probe: Probe) -> Tensor:
        """Where an item is memorized, ``[batch, height, width]`` in latent pixels.

        Raises:
            NotApplicableError: The model's samples are not images.
        """
        if len(probe.model.latent_shape) != 3:
            raise NotApplicableError(f"{probe.model.name} does not generate images, so there is no map of one")
        return self._excess(probe)

    def _excess(self, probe: Probe) -> Tensor:
        """The map, ``[batch, height, width]``; of samples that are no images ``[batch, *latent_shape]``."""
        from memdet.curvature import diagonal

        x, t = probe.at(probe.timesteps[-1] if self.t is None else self.t, probe.guidance)
        if self.estimator == "exact":
            matrix = probe.jacobian_matrix(x, t, "cond") - probe.jacobian_matrix(x, t, "null")
            return _excess_of(matrix.double().diagonal(dim1=1, dim2=2).view(x.shape))

        def product(v: Tensor) -> Tensor:
            cond, null = probe.both_products(x, t, v, self.backend)
            return cond - null

        return _excess_of(diagonal(product, probe.directions(self.probes, draw=self.draw)).value)


def _excess_of(diagonal: Tensor) -> Tensor:
    """``relu(-sum_channels diagonal)``; there are channels in images alone."""
    return (-(diagonal.sum(dim=1) if diagonal.dim() == 4 else diagonal)).relu()
