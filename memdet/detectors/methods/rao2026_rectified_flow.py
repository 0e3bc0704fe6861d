"""Membership by the error of the mean velocity at the midpoint (Rao and Moyer 2026)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field, PositiveInt

from memdet.detectors.base import Detector, DetectorInfo, Headline

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class CalibratedVelocityError(Detector):
    """``-norm(x - mean_n v(z_n))^2 / C(x)``: distance of the mean velocity from the image, over its complexity.

    Rectified flow mixes an image x and noise eps_n in a straight line, ``z_n = s x + (1 - s) eps_n``, and learns the
    velocity ``x - eps_n``, whose mean over noise is x. C is the length of the image in bytes after compression.

    Paper: Rao, Moyer, "Generalization and Memorization in Rectified Flow", 2026, arXiv 2603.13421, statistic T_mc_cal:
    if a model is trained evenly over time, its training images are easiest to recognise at s = .5. Any other model can
    be read in the same coordinates, exactly: a state ``alpha x + sigma eps`` is ``alpha + sigma`` times the mixture
    with ``s = alpha / (alpha + sigma)``, and the velocity there is ``x0_hat - e_c``. So s = .5 is the timestep at which
    signal and noise are equally strong, or the nearest.

    Attributes:
        share: s, the share of the image in the mixture.
        draws: Number of noises eps_n.
    """

    info = DetectorInfo(
        name="rectified-flow-mia",
        title="minus the squared distance of the mean velocity from the image, over the image's complexity",
        paper="rao2026generalization",
        year=2026,
        access="score",
        task="image",
        cost="draws F",
        fidelity="deviates",
        deviation=(
            "The paper's code is not public, so its compression and its number of draws are not known. memdet uses the "
            "length of the 8-bit image (decoded, for latents) after zlib, and 8 draws. All models in the paper are "
            "rectified flows."
        ),
        headline=Headline(source="T_mc_cal at s = .5"),
    )
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    draws: PositiveInt = 8

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        import torch

        _ = probe.images  # a prompt has none
        schedule, image = probe.model.schedule, probe.clean()
        shares = schedule.alphas / (schedule.alphas + schedule.sigmas)
        t = int(abs(shares - self.share).argmin())
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        size = _compressed_size(probe.generated())
        velocities = []
        for draw in range(self.draws):
            x = alpha * image + sigma * probe.starting_noise(draw)
            eps = probe.eps(x, t, "cond")
            velocities.append((x - sigma * eps) / alpha - eps)
        mean = torch.stack(velocities).mean(dim=0)
        error: Tensor = (image - mean).double().flatten(1).square().sum(dim=1)
        return -error / size


def _compressed_size(images: Tensor) -> Tensor:
    """Bytes of each image ``[batch, channels, height, width]`` in [0, 1], at 8 bits a value, ``[batch]`` float64."""
    import zlib

    import torch

    pixels = (images.detach().float() * 255).round().clamp(0, 255).byte().cpu().numpy()
    sizes = [len(zlib.compress(one.tobytes(), 9)) for one in pixels]
    return torch.tensor(sizes, dtype=torch.float64, device=images.device)
