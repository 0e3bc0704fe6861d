"""How far the noise must be moved from a standard normal law to give the sample back (InvMM, Ma et al. 2024)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field, NonNegativeInt, PositiveInt

from memdet.detectors.base import Detector, DetectorInfo, Headline

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe

_GOLDEN = 0.6180339887498949  # multiples of it, less their whole part, fill [0, 1) evenly at any length


class InvMM(Detector):
    """Minus ``KL(N(mu, v) || N(0, 1))`` per dimension, where N(mu, v) is noise from which the sample comes back.

    Paper: Ma et al., "An Inversion-based Measure of Memorization for Diffusion Models", arXiv 2405.05846. mu and v are
    fitted: they minimise the mean square of ``x0^(alpha x + sigma n, t) - x`` plus ``weight`` times the divergence. x
    is the image, or the end of the guided trajectory; n is noise from N(mu, v); x0^ is the prediction of the clean
    sample; all times t are taken in turn. Adam starts at mu = 0 and log v = 0. A memorized sample comes back from any
    noise, so its distribution stays near N(0, 1). The random numbers are those of the seed, the same for all items.

    Attributes:
        steps: Number of steps of Adam, each with one noise at one time.
        weight: Weight of the divergence.
        rate: Learning rate.
        draw: Number of the set of noises. Another number gives others at the same starting noise.
    """

    info = DetectorInfo(
        name="invmm",
        title="minus the divergence from N(0, 1) of noise that is fitted to give the sample back",
        paper="ma2024inversion",
        year=2024,
        access="gradient",
        cost="2 T F + steps F + steps VJP (no trajectory for images)",
        fidelity="deviates",
        deviation=(
            "the authors take up to 2,000 steps with 32 noises each, and adapt the weight until SSCD calls 8 of 8 "
            "generations copies. Here there are few steps of one noise, a fixed weight and no such test, so the fit is "
            "not finished. For text, their code also fits the tokens of the prompt; here the prompt is the item's."
        ),
        headline=Headline("steps=2000", guidance=7.5, source="the authors' code; 32 noises a step there"),
    )
    steps: PositiveInt = 50
    weight: Annotated[float, Field(ge=0)] = 1.0
    rate: Annotated[float, Field(gt=0)] = 0.1
    draw: NonNegativeInt = 0

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        import torch

        x, schedule = probe.clean(), probe.model.schedule
        mean, log_variance = (torch.zeros_like(x, dtype=torch.float64) for _ in range(2))
        by_mean, by_variance = _Adam(self.rate), _Adam(self.rate)
        for step, z in enumerate(probe.directions(self.steps, "gaussian", draw=self.draw)):
            t = int((step + 0.5) * _GOLDEN % 1 * len(schedule.alphas))
            alpha, sigma = schedule.alpha(t), schedule.sigma(t)
            spread = (log_variance / 2).exp() * z
            noise = (mean + spread).to(x.dtype)
            noisy = alpha * x + sigma * noise
            rest = noise - probe.eps(noisy, t, "cond")  # (x0^ - x) alpha / sigma
            # The derivative of eps is -sigma J: that of half the square of the rest is (1 + sigma^2 J^T) rest.
            slope = rest + sigma**2 * probe.jacobian_product(noisy, t, "cond", rest, "vjp")
            slope = 2 * (sigma / alpha) ** 2 * slope.double()
            mean = by_mean.moved(mean, slope + self.weight * mean)
            pull = self.weight * (log_variance.exp() - 1) / 2
            log_variance = by_variance.moved(log_variance, slope * spread / 2 + pull)
        divergence: Tensor = (mean.square() + log_variance.exp() - log_variance - 1).flatten(1).mean(dim=1) / 2
        return -divergence


class _Adam:
    """Adam (Kingma and Ba 2015) for one tensor, with the usual constants; every number moves for itself.

    Args:
        rate: Learning rate.
    """

    def __init__(self, rate: float) -> None:
        self._rate, self._count = rate, 0
        self._first: Tensor | float = 0.0
        self._second: Tensor | float = 0.0

    def moved(self, value: Tensor, slope: Tensor) -> Tensor:
        """The value after one more step."""
        self._count += 1
        self._first = 0.9 * self._first + 0.1 * slope
        self._second = 0.999 * self._second + 0.001 * slope.square()
        mean, square = self._first / (1 - 0.9**self._count), self._second / (1 - 0.999**self._count)
        return value - self._rate * mean / (square.sqrt() + 1e-8)
