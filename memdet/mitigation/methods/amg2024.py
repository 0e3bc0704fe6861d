"""Guidance away from the nearest training image (AMG, Chen et al., CVPR 2024)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated
from weakref import WeakKeyDictionary

from pydantic import Field, PositiveFloat

from memdet.errors import NotApplicableError
from memdet.mitigation.base import Mitigation, MitigationInfo

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.mitigation.sampler import Sampler
    from memdet.models import ScoreModel

LATEST = 250  # timesteps, of 1,000, at which neighbours are looked for
BEGINS = 1.5  # ratio below which guidance begins
HIGHEST, LOWEST, RATE = 1.95, 1.5, 0.025  # of the threshold below which it goes on
DIMENSIONS = 3 * 32 * 32  # of the images that the strength was made for
HALF = 0.5  # by which the mean distance of the neighbours counts
_AT_ONCE = 256
_LATENTS: WeakKeyDictionary[ScoreModel, Tensor] = WeakKeyDictionary()


class AntiMemorizationGuidance(Mitigation):
    """Late steps are pushed away from the training image that is unusually near.

    At every timestep ``t <= 250`` all training images get noise of that timestep, and ``r = d_1 / (.5 mean_i d_i)`` is
    taken over the 50 that are nearest to the noisy sample, by root mean square differences. From the step after the
    first with ``r < 1.5`` on, where ``r < 1.95 - .45 exp(-.025 t)``, the step's end moves by ``80,000 (threshold - r)
    v_t`` times the derivative of r with the mean of the neighbours held fixed; ``v_t`` is the variance of one
    timestep of ancestral sampling. The noise of the training images is the same for all items of a seed.

    Paper: Chen, Liu, Xu, "Towards Memorization-Free Diffusion Models", CVPR 2024, arXiv 2404.00922: what the authors do
    with pixels of 32 x 32, whose constants these are. For Stable Diffusion they compare SSCD embeddings instead, with
    two more guidances; SSCD says nothing of images of 32 x 32, and captions of training images are not kept here.

    Attributes:
        strength: By which the derivative is multiplied. It is that of 3 x 32 x 32 pixels; for others it is scaled as
            their number is, so that each moves as far.
        neighbours: Training images whose distances are averaged.
    """

    info = MitigationInfo(
        name="amg2024",
        title="late steps pushed away from the nearest training image",
        paper="chen2024towards",
        year=2024,
        access="training-data",
        cost="2 T F",
        fidelity="deviates",
        deviation=(
            "the authors take 1,000 ancestral steps of an unconditional network, and pause for ten of them after three "
            "without guidance; here each step of the protocol's trajectory is looked at, and distances are those of "
            "latents where the network sees latents. The strength is scaled to the number of pixels or latents."
        ),
    )
    strength: PositiveFloat = 80_000.0
    neighbours: Annotated[int, Field(ge=2)] = 50

    def sample(self, sampler: Sampler) -> Tensor:
        """Clean latents, one an item.

        Raises:
            NotApplicableError: The training images of the model are not known, or are fewer than the neighbours.
        """
        import torch

        known, x = _latents(sampler.model), sampler.start()
        if len(known) < self.neighbours:
            raise NotApplicableError(
                f"{self.neighbours} neighbours are asked for, and {len(known)} training images are known"
            )
        strength = self.strength * math.prod(x.shape[1:]) / DIMENSIONS
        begun = torch.zeros(len(sampler), dtype=torch.bool, device=x.device)
        for index, t in enumerate(sampler.timesteps):
            after = sampler.step(index, x, sampler.guided(x, t, sampler.guidance))
            if t <= LATEST:
                ratio, slope = self._nearness(sampler, known, x, t)
                room = (HIGHEST - (HIGHEST - LOWEST) * math.exp(-RATE * t) - ratio).clamp_min(0) * begun
                push = strength * _variance(sampler, t) * room.view(-1, *[1] * (x.ndim - 1)) * slope
                after = after + push.to(after.dtype)
                begun = begun | (ratio < BEGINS)
            x = after
        return x

    def _nearness(self, sampler: Sampler, known: Tensor, x: Tensor, t: float) -> tuple[Tensor, Tensor]:
        """The ratio r of each item, ``[n]``, and its derivative, as x."""
        import torch

        from memdet.probing.neighbours import nearest_images

        alpha, sigma = sampler.model.schedule.alpha(t), sampler.model.schedule.sigma(t)
        drawn = sampler.random_of_seed(f"amg2024 {t:g}").standard_normal(known.shape, dtype="float32")
        noised = alpha * known + sigma * torch.from_numpy(drawn).to(known)
        distances, where = nearest_images(x.detach().to(known), noised, self.neighbours)
        usual = HALF * distances.mean(dim=1)
        ratio = distances[:, 0] / usual
        size = usual * distances[:, 0] * math.prod(x.shape[1:])
        away = (x.to(known) - noised[where[:, 0]]).double()
        slope = away / size.clamp_min(1e-12).view(-1, *[1] * (x.ndim - 1))
        return ratio.to(x.device), slope.to(x.device)


def _latents(model: ScoreModel) -> Tensor:
    """All training images as latents, encoded once a model."""
    import torch

    if model not in _LATENTS:
        images = model.training_images().to(model.device)
        with torch.no_grad():
            latents = torch.cat([model.encode(part) for part in torch.split(images, _AT_ONCE)])
        _LATENTS[model] = latents.to(torch.promote_types(latents.dtype, torch.float32))
    return _LATENTS[model]


def _variance(sampler: Sampler, t: float) -> float:
    """Of one timestep of ancestral sampling, ``sigma_s^2 (1 - alpha_t^2 sigma_s^2 / (alpha_s^2 sigma_t^2))``."""
    schedule = sampler.model.schedule
    if t < 1:
        return 0.0
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    before, noise = schedule.alpha(t - 1), schedule.sigma(t - 1)
    return float(noise**2 * (1 - (alpha * noise / (before * sigma)) ** 2))
