"""What a network predicts, told from its answers: a wrong prediction type gives numbers that look right.

Each type gives itself away somewhere. At pure noise a noise prediction repeats its input. At little noise an ``x0``
prediction does. The other two predict a mixture of noise and clean sample: take their clean sample at pure noise, add
new noise to it, and see whether the answer there is the mixture of the two. A network that was never trained shows none
of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from memdet.errors import NotApplicableError
from memdet.models.base import ScoreModel
from memdet.models.closed_form.base import ClosedForm
from memdet.models.prediction_type import PREDICTION_TYPES, PredictionType
from memdet.models.wrapped import layers

NUMBERS = 2**13  # of all rows: at so many no cosine is chance
LARGEST_BATCH = 64
HIGH, MIDDLE, LOW = 0.995, 0.6, 0.1  # parts of noise in a noisy sample, sigma over the root of alpha^2 + sigma^2
_IN_CONFIG: dict[PredictionType, str] = {"eps": "epsilon", "v": "v_prediction", "x0": "sample"}


@dataclass(frozen=True)
class Doubt:
    """A network that does not predict what its model says.

    Attributes:
        name: Of the model.
        stated: Its prediction type.
        found: The type that the network's answers agree with.
        agreement: Cosine of the answers and of what a network of the stated type would give, and that of the type
            found: 1 where they are alike.
    """

    name: str
    stated: PredictionType
    found: PredictionType
    agreement: tuple[float, float]

    def __str__(self) -> str:
        config = f'"prediction_type": "{_IN_CONFIG[self.found]}" in scheduler_config.json, or ' if self.is_known else ""
        return (
            f"{self.name} is read as predicting {self.stated}, and its output looks like {self.found}: agreement "
            f"{self.agreement[0]:.2f} with {self.stated}, {self.agreement[1]:.2f} with {self.found} (cosines). If so, "
            f'all its scores are wrong: mend {config}prediction="{self.found}" of from_callable'
        )

    @property
    def is_known(self) -> bool:
        """Whether the configuration of a scheduler has a word for the type found."""
        return self.found in _IN_CONFIG


def doubt_of(model: ScoreModel, condition: str | None = None) -> Doubt | None:
    """Whether a network predicts something else than its model says.

    A network that agrees with what is said costs one or two forwards of few rows, another one up to four. Nobody is
    charged, and nothing that scores depend on is touched.

    Args:
        model: Closed forms are not asked: they know.
        condition: Of a model without a null branch; it is asked under the null condition where there is one.

    Returns:
        The doubt; None where the network agrees with its type, or where none can be told: it was not trained, its
        samples have too few numbers, its answers are not finite, or the data are such that types are alike.

    Example:
        >>> from memdet.models import NoiseSchedule
        >>> schedule = NoiseSchedule.from_betas([0.0001 + 0.00002 * i for i in range(1000)])
        >>> def network(x, t):
        ...     return schedule.sigma(t) * x  # the noise in standard normal data
        >>> make = ScoreModel.from_callable
        >>> doubt_of(make(network, shape=(3, 16, 16), schedule=schedule, prediction="eps")) is None
        True
        >>> doubt_of(make(network, shape=(3, 16, 16), schedule=schedule, prediction="v")).found
        'eps'
    """
    if isinstance(layers(model)[-1], ClosedForm):
        return None
    try:
        answers = _Answers(model, condition)
        if answers.support(model.prediction_type):
            return None
        found = [kind for kind in PREDICTION_TYPES if kind != model.prediction_type and answers.support(kind)]
    except Exception:  # what a network cannot do, detectors meet again and report
        return None
    if not found:
        return None
    agreement = (answers.agreement(model.prediction_type), answers.agreement(found[0]))
    return Doubt(model.name, model.prediction_type, found[0], agreement)


class _Answers:
    """The network at noisy samples of its own making; each is asked when it is needed.

    Args:
        model: Whose network it is.
        condition: Where there is no null branch.
    """

    def __init__(self, model: ScoreModel, condition: str | None) -> None:
        self._model, schedule = model, model.schedule
        self._rows = max(1, min(LARGEST_BATCH, NUMBERS // math.prod(model.latent_shape)))
        self._parts = schedule.sigmas / (schedule.alphas**2 + schedule.sigmas**2) ** 0.5
        self._generator = torch.Generator("cpu").manual_seed(0)
        try:
            encoded = model.embed_null()
        except NotApplicableError:
            encoded = model.embed(["" if condition is None else condition])
        self._condition = encoded.expand(self._rows)

    def support(self, kind: PredictionType) -> bool:
        """Whether the answers are those of a network of this type, beyond what others give."""
        cosine, gain = self.at_noise
        if kind == "eps":
            return cosine >= 0.97 and 0.8 <= gain <= 1.2
        if kind == "flow":  # where the clean sample is all but zero a noise prediction is no other
            return cosine >= 0.4 and gain >= 0.6 and self.of_flow >= (0.95 if cosine >= 0.97 else 0.8)
        if kind == "v":
            return abs(gain) <= 0.3 and self.of_v >= 0.8
        return abs(gain) <= 0.3 and self.at_little_noise[0] >= 0.95 and 0.7 <= self.at_little_noise[1] <= 1.1

    def agreement(self, kind: PredictionType) -> float:
        """The cosine that tells this type."""
        if kind == "eps":
            return self.at_noise[0]
        if kind == "x0":
            return self.at_little_noise[0]
        return self.of_v if kind == "v" else self.of_flow

    @cached_property
    def _noisiest(self) -> tuple[Tensor, Tensor, float, float]:
        """Pure noise, the answer there, and alpha and sigma."""
        t, alpha, sigma = self._level(HIGH)
        x = math.hypot(alpha, sigma) * self._draw()
        return x, self._ask(x, t), alpha, sigma

    @cached_property
    def at_noise(self) -> tuple[float, float]:
        """Cosine and factor of the answer and the input at pure noise: 1 for ``eps``, about 0 for ``v`` and ``x0``."""
        x, output, _, _ = self._noisiest
        return _cosine(output, x), float((output * x).sum() / x.square().sum())

    @cached_property
    def of_v(self) -> float:
        """Cosine of the answer and ``alpha e - sigma x0``."""
        x, output, alpha, sigma = self._noisiest
        clean = (alpha * x - sigma * output) / (alpha**2 + sigma**2)
        return self._cosine_with(clean, lambda noise, alpha, sigma: alpha * noise - sigma * clean)

    @cached_property
    def of_flow(self) -> float:
        """Cosine of the answer and ``e - x0``."""
        x, output, alpha, sigma = self._noisiest
        clean = (x - sigma * output) / (alpha + sigma)
        return self._cosine_with(clean, lambda noise, alpha, sigma: noise - clean)

    @cached_property
    def at_little_noise(self) -> tuple[float, float]:
        """Cosine and factor of the answer and the input at little noise on a smooth picture: 1 for ``x0``."""
        t, alpha, sigma = self._level(LOW)
        x = alpha * self._picture() + sigma * self._draw()
        output = self._ask(x, t)
        return _cosine(output, x), float((output * x).sum() / x.square().sum())

    def _cosine_with(self, clean: Tensor, expected: Callable[[Tensor, float, float], Tensor]) -> float:
        """Cosine of the answer at a clean sample with new noise, and what is expected there."""
        t, alpha, sigma = self._level(MIDDLE)
        noise = self._draw()
        return _cosine(self._ask(alpha * clean + sigma * noise, t), expected(noise, alpha, sigma))

    def _level(self, part: float) -> tuple[int, float, float]:
        """The timestep whose part of noise is nearest, with its alpha and sigma."""
        t = int(abs(self._parts - part).argmin())
        return t, self._model.schedule.alpha(t), self._model.schedule.sigma(t)

    def _draw(self) -> Tensor:
        shape = (self._rows, *self._model.latent_shape)
        return torch.randn(shape, generator=self._generator, dtype=torch.float64, device="cpu")

    def _picture(self) -> Tensor:
        """Planes of any slope, of root mean square .5, a channel by itself; of samples that are no pictures, noise."""
        plane = self._draw()
        if plane.ndim == 4:
            y, x = (torch.linspace(-1, 1, n, dtype=torch.float64, device="cpu") for n in plane.shape[2:])
            level, down, right = self._draw().flatten(2)[..., :3].unsqueeze(2).unbind(-1)  # one draw, three factors
            plane = level[..., None] + down[..., None] * y[:, None] + right[..., None] * x
        return 0.5 * plane / plane.square().mean(dim=tuple(range(1, plane.ndim)), keepdim=True).sqrt()

    def _ask(self, x: Tensor, t: int) -> Tensor:
        with torch.no_grad():
            return self._model.predict(x.to(self._model.device, self._model.dtype), t, self._condition).double().cpu()


def _cosine(one: Tensor, other: Tensor) -> float:
    """Of all rows together; NaN, which supports nothing, where an answer is not finite or zero."""
    return float((one * other).sum() / (one.norm() * other.norm()))
