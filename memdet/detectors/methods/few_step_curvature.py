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

    Curvature late on the trajectory tells memorized samples from others (Jeon, Kim, No, arXiv 2412.04140), and most of
    its price is the way there. A few large steps end near the same mode, so the way is short: with the defaults eight
    forwards. Probes are Rademacher vectors, the same for all items of a seed.

    Attributes:
        steps: Large steps of the conditional branch alone, from pure noise to ``t``.
        t: Timestep at which the curvature is taken, the nearest of the trajectory's.
        probes: Random vectors per item.
        backend: ``fd-one-sided`` (a forward a probe), ``vjp`` or ``jvp``. In half precision rounding drowns
            differences: products are then by ``jvp`` whatever is said here, and counted as such.
        draw: Which random vectors; another number takes others at the same noise.
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
