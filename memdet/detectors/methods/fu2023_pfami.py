"""Membership by the fluctuation of the loss around an image (PFAMI, Fu et al. 2023)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field, NonNegativeInt, PositiveInt

from memdet.detectors.base import Detector, DetectorInfo, Headline
from memdet.errors import NotApplicableError

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class ProbabilisticFluctuation(Detector):
    """``mean_t [L(x', t) - L(x, t)] / L(x, t)`` with x' the middle of the image x, enlarged to its size.

    ``L(x, t) = mean (e_c(alpha_t x + sigma_t eps, t) - eps)^2``. Each time has noise of its own, the same for x and x'.

    Paper: Fu et al., "A Probabilistic Fluctuation based Membership Inference Attack for Diffusion Models", 2023, arXiv
    2308.12143, the statistic PFAMI_Met. Around a training image the likelihood falls on all sides, so the loss of the
    image is small compared with the losses of its neighbours. A neighbour is a crop that is enlarged bilinearly. The
    official code crops to one of ten sizes (from .95 to .70 of the side), at ten times, and divides by the loss.

    Attributes:
        times: Number of times: 0, stride, 2 stride and so on.
        stride: Number of timesteps between two times.
        crop: Side of the crop, as a share of the image's; the number of pixels is rounded down.
    """

    info = DetectorInfo(
        name="pfami",
        title="relative rise of the denoising loss when the image is cropped",
        paper="fu2023probabilistic",
        year=2023,
        access="score",
        task="image",
        cost="2 times F",
        fidelity="deviates",
        deviation=(
            "The official code subtracts the same fluctuation of a reference model, which sample sets do not have. "
            "(Its option calibration=false leaves this out too.) It draws new noise for the crop; here the noise is "
            "the same, so that the difference does not come from two draws. Latents are cropped themselves, and not "
            "the image that they decode to."
        ),
        headline=Headline(source="ten times 0 to 450, one crop: 20 queries; calibrated by a reference model"),
    )
    times: PositiveInt = 10
    stride: PositiveInt = 50
    crop: Annotated[float, Field(gt=0, lt=1)] = 0.811

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        import torch

        _ = probe.images  # a prompt has none, and no loss
        last = len(probe.model.schedule.alphas) - 1
        if self.stride * (self.times - 1) > last:
            raise NotApplicableError(f"the times 0 to {self.stride * (self.times - 1)} leave the schedule, 0 to {last}")
        image, rises = probe.clean(), []
        neighbour = _enlarged_middle(image, self.crop)
        for draw, t in enumerate(range(0, self.stride * self.times, self.stride)):
            own, other = (_loss(probe, x, t, draw) for x in (image, neighbour))
            rises.append((other - own) / own)
        return torch.stack(rises).mean(dim=0)


def _loss(probe: Probe, x: Tensor, t: NonNegativeInt, draw: int) -> Tensor:
    schedule, noise = probe.model.schedule, probe.starting_noise(draw)
    eps = probe.eps(schedule.alpha(t) * x + schedule.sigma(t) * noise, t, "cond")
    return (eps - noise).double().flatten(1).square().mean(dim=1)


def _enlarged_middle(images: Tensor, share: float) -> Tensor:
    """The middle of images ``[batch, channels, height, width]``, enlarged to their size."""
    from torch.nn.functional import interpolate

    if images.ndim != 4:
        raise NotApplicableError(f"samples of shape {tuple(images.shape[1:])} are no images: no middle to crop")
    height, width = images.shape[2:]
    rows, columns = int(height * share), int(width * share)
    if not rows or not columns:
        raise NotApplicableError(f"crop={share} leaves no pixel of images of {height} x {width}")
    top, left = (height - rows) // 2, (width - columns) // 2
    middle = images[:, :, top : top + rows, left : left + columns]
    return interpolate(middle, size=(height, width), mode="bilinear", align_corners=False)
