"""Map of coordinate-wise curvature differences (Kim and Lee, ICML 2026)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import NonNegativeInt, PositiveInt

from memdet.detectors.base import Detector, DetectorInfo
from memdet.errors import NotApplicableError

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class CurvatureMap(Detector):
    """Mean of ``relu(-diag J_D)`` with ``J_D = J_c - J_u``, at the last step of the guided trajectory.

    Paper: Kim, Lee, "Localizing Memorized Regions in Diffusion Models via Coordinate-Wise Curvature Differences", ICML
    2026, arXiv 2605.26756: where a region is memorized its coordinates have lost their variance under the condition and
    kept it under the null. The diagonal is the mean of ``v * J_D v`` over Rademacher vectors (Bekas et al. 2007), the
    same on both branches. The relu is taken of every coordinate of this mean, channels are averaged after it:
    :meth:`map` gives that, and the score is its spatial mean. The relu of a noisy estimate is biased upward where the
    diagonal is near zero; more probes lessen it.

    Attributes:
        probes: Products per branch.
        t: Timestep on the guided trajectory; none means its last step, as in the paper.
        backend: ``vjp`` (reverse AD: J^T has the diagonal of J, and cheaper products), ``jvp`` (forward AD), ``fd``
            (central difference) or ``fd-one-sided``.
        estimator: ``probes``, or ``exact``: the diagonal itself, of small networks and closed forms.
        draw: Which random vectors; another number takes others at the same noise.
    """

    info = DetectorInfo(
        name="curvature-map",
        title="mean of the map of curvature differences",
        paper="kim2026localizing",
        year=2026,
        version=2,
        access="gradient",
        cost="2 T F + 2 probes VJP",
    )
    probes: PositiveInt = 4
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
        mean: Tensor = self._excess(probe).mean(dim=1)
        return mean

    def _excess(self, probe: Probe) -> Tensor:
        """``relu(-diag J_D)``, ``[batch, *latent_shape]``."""
        from memdet.curvature import diagonal

        x, t = probe.at(probe.timesteps[-1] if self.t is None else self.t, probe.guidance)
        if self.estimator == "exact":
            matrix = probe.jacobian_matrix(x, t, "cond") - probe.jacobian_matrix(x, t, "null")
            return (-matrix.double().diagonal(dim1=1, dim2=2)).relu().view(x.shape)

        def product(v: Tensor) -> Tensor:
            cond, null = probe.both_products(x, t, v, self.backend)
            return cond - null

        return (-diagonal(product, probe.directions(self.probes, draw=self.draw)).value).relu()
