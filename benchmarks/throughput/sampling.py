"""A plain guided sampling loop of diffusers, as its pipelines write it: both branches in one batch, DDIM."""

from __future__ import annotations

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor

from memdet.models import ScoreModel


class SamplingLoop:
    """Samples under classifier-free guidance.

    Args:
        unet: Network.
        scheduler: DDIM, with its timesteps set.
        guidance: Scale.
    """

    def __init__(self, unet: UNet2DConditionModel, scheduler: DDIMScheduler, guidance: float) -> None:
        self.unet, self.scheduler, self.guidance = unet, scheduler, guidance

    @classmethod
    def of(cls, model: ScoreModel, directory: str, steps: int, guidance: float) -> SamplingLoop:
        """The network of a loaded model, under the scheduler that lies beside it."""
        scheduler = DDIMScheduler.from_pretrained(directory, subfolder="scheduler")
        scheduler.set_timesteps(steps)
        return cls(model._unet, scheduler, guidance)

    @torch.no_grad()
    def __call__(self, latents: Tensor, null: Tensor, cond: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Sample.

        Args:
            latents: Starting noise, ``[batch, channels, height, width]``.
            null, cond: Encoded prompts, ``[batch, tokens, width]``.

        Returns:
            Clean latents, and the difference of the branches at each step.
        """
        prompts, differences = torch.cat([null, cond]), []
        for t in self.scheduler.timesteps:
            both = self.scheduler.scale_model_input(torch.cat([latents] * 2), t)
            uncond, text = self.unet(both, t, encoder_hidden_states=prompts, return_dict=False)[0].chunk(2)
            noise = uncond + self.guidance * (text - uncond)
            latents = self.scheduler.step(noise, t, latents, return_dict=False)[0]
            differences.append(text - uncond)
        return latents, differences
