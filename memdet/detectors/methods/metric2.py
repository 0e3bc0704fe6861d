"""Difference of the transposed Jacobian products with the noise predictions (anonymous, ICML 2026)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memdet.detectors.base import Detector, DetectorInfo, Headline

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class Metric2(Detector):
    """``norm(J_c^T e_c - J_u^T e_u)^2`` at one time.

    Paper: "Early Detection of Memorization in Diffusion Models" (anonymous, ICML 2026), beside ``dsm``. ``J^T e`` is,
    up to a factor, the gradient in x of ``norm(e)^2``. Each branch is multiplied by its own prediction; in ``jeon2025``
    both Jacobians are multiplied by the same vector. The Jacobian of a trained network is not symmetric: the product
    here is a vector-Jacobian product, and ``J e`` would be another detector.

    Attributes:
        t: Timestep, the nearest on the unguided conditional trajectory; none means pure noise, at the first step, as in
            the paper.
    """

    info = DetectorInfo(
        name="metric2",
        title="squared norm of the difference of the transposed Hessians times the noise predictions",
        paper="anonymous2026early",
        year=2026,
        access="gradient",
        cost="2 F + 2 VJP (half of it with shared noise)",
        fidelity="faithful",
        headline=Headline(source="first step; no guidance is involved"),
    )
    t: int | None = None

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        x, t = probe.at(self.t)
        product = probe.jacobian_product(x, t, "cond", probe.eps(x, t, "cond"), "vjp")
        product = product - probe.jacobian_product(x, t, "null", probe.eps(x, t, "null"), "vjp")
        square: Tensor = product.double().flatten(1).square().sum(dim=1)
        return square
