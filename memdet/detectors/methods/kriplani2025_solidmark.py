"""How near the grey that a model paints around an image is to the grey it was trained with (SolidMark)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import PositiveInt

from memdet.detectors.base import Detector, DetectorInfo, Headline
from memdet.errors import NotApplicableError

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe

UNEVEN = 2 / 255  # largest difference of two greys of a frame that is of one grey


class SolidMark(Detector):
    """``-abs(mean grey of the painted frame - key)``, the key being the grey of the image's own frame.

    The frame of the image is removed, and the model paints it again: at every step of the model's conditional
    trajectory, the known pixels are set to the image with the noise of that step. Greys are from 0 to 1. The grey of a
    frame was drawn at random, so the image says nothing about it, and a model that paints it right must have seen the
    image. The result of guessing is also known: a grey g is on average ``(g^2 + (1 - g)^2) / 2`` away from a random
    key, which is 1/4 for a middle grey, and 1/3 on average over all greys. The detector is an oracle for models whose
    training images have such frames, such as those of ``solid-pixel``.

    Paper: Kriplani, Pham, Somepalli, Hegde, Cohen, "SolidMark: Evaluating Image Memorization in Generative Models",
    2025, arXiv 2503.00592.

    Attributes:
        border: Width of the frame, in pixels.
        passes: How often each step is made, with fresh noise on the way back in between (RePaint). With one pass, the
            frame gets its grey before the picture inside is clear enough to be recognised.
    """

    info = DetectorInfo(
        name="solidmark",
        title="minus the distance between the grey of the painted frame and the true grey (oracle)",
        paper="kriplani2025solidmark",
        year=2025,
        access="training-data",
        task="image",
        cost="passes T F",
        fidelity="deviates",
        deviation=(
            "the authors use inpainting pipelines of text-conditional models; here the known pixels are set at every "
            "step, so that any model on pixels can be used."
        ),
        headline=Headline(source="the distance of one outpainting of a training image with its caption"),
    )
    border: PositiveInt = 2
    passes: PositiveInt = 4

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``.

        Raises:
            NotApplicableError: The model does not generate pixels, or an image has no frame of one grey.
        """
        import torch

        from memdet.models.outpainting import border_of, outpainted

        model, image = probe.model, probe.images
        if image.ndim != 4 or model.decode(image[:1]).shape != image[:1].shape:
            raise NotApplicableError(f"{model.name} does not generate pixels, so no frame of an image is known to it")
        height, width = image.shape[2:]
        if min(height, width) <= 2 * self.border:
            raise NotApplicableError(f"images of {height} x {width} have nothing in a frame of {self.border} pixels")
        frame, placed = border_of(height, width, self.border), image.to(model.device, model.dtype)
        count = height * width - (height - 2 * self.border) * (width - 2 * self.border)

        def grey(x: Tensor, frame: Tensor) -> Tensor:
            mean: Tensor = model.decode(x).double().where(frame, 0.0).sum(dim=(1, 2, 3)) / (count * x.shape[1])
            return mean

        own = model.decode(image).double()  # on the host, where images of items are
        uneven = own.where(frame, -torch.inf).amax(dim=(1, 2, 3)) - own.where(frame, torch.inf).amin(dim=(1, 2, 3))
        if bool((uneven > UNEVEN).any()):
            raise NotApplicableError(f"an image has no frame of {self.border} pixels of one grey, to be its key")
        there = frame.to(model.device)
        painted = outpainted(
            placed,
            ~there,
            lambda x, t: probe.eps(x, t, "cond"),
            model.schedule,
            probe.starting_noise,
            steps=len(probe.timesteps),
            passes=self.passes,
        )
        return -(grey(painted, there) - grey(image, frame).to(model.device)).abs()
