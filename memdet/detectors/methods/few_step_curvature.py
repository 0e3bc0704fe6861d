"""Minus the trace of the conditional Hessian late on a trajectory of a few large steps (memdet's own)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import NonNegativeInt, PositiveInt

from memdet.detectors.base import Detector, DetectorInfo

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class FewStepCurvature(Detector):
    """``-tr J_c`` where a few large DDIM steps lead from pure noise, without a null branch.

    Curvature late on the trajectory tells memorized samples from others (Jeon, Kim, No, arXiv 2412.04140), but most of
    its cost is the way there. A few large steps end near the same mode, and make the way cheap: with the default
    options the whole score takes eight forwards. Probes are Rademacher vectors, the same for all items of a seed.

    Attributes:
        steps: Number of large steps of the conditional branch alone, from pure noise to ``t``.
        t: Timestep at which the curvature is measured, the nearest of the trajectory's.
        probes: Random vectors per item.
        backend: ``fd-one-sided`` (one forward per probe), ``vjp`` or ``jvp``. In half precision, rounding destroys
            differences: products are then computed as ``jvp``, whatever this option says, and are counted as JVPs.
        draw: Number of the set of random vectors. Another number gives other vectors at the same noise.
    """

    info = DetectorInfo(
        name="few-step-curvature",
        title="minus the trace of the conditional Hessian after a few large steps",
        year=2026,
        access="score",
        cost="(steps + 1 + probes) F (no steps for images)",
        fidelity="ours",
    )
    steps: PositiveInt = 4
    t: NonNegativeInt = 50
    probes: PositiveInt = 3
    backend: Literal["fd-one-sided", "vjp", "jvp"] = "fd-one-sided"
    draw: NonNegativeInt = 0

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        from memdet.curvature import hutchinson

        x, t = probe.at(self.t, steps=self.steps)

        def product(v: Tensor) -> Tensor:
            return probe.jacobian_product(x, t, "cond", v, self.backend)

        return -hutchinson(product, probe.directions(self.probes, draw=self.draw)).value
