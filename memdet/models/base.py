"""What every score model offers to the floors above."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from memdet.errors import NotApplicableError
from memdet.models.diffusers.recording import AttentionLayer
from memdet.models.prediction_type import PredictionType, eps_from_output
from memdet.models.schedule import NoiseSchedule


class ScoreModel(ABC):
    """A diffusion model seen as ``score(x_t, t, condition)``.

    Attributes:
        name: As the user named it.
        latent_shape: Of one noisy sample, without the batch.
        schedule: Noise of every timestep.
        prediction_type: What :meth:`predict` returns.
        device, dtype: Of the inputs.
        takes_prompts: Whether conditions are text, so that text controls have something to read.
    """

    name: str
    latent_shape: tuple[int, ...]
    schedule: NoiseSchedule
    prediction_type: PredictionType
    device: torch.device
    dtype: torch.dtype
    takes_prompts: ClassVar[bool] = False

    @property
    def parametrisation(self) -> PredictionType:
        """The name that :attr:`prediction_type` had."""
        return self.prediction_type

    @abstractmethod
    def embed(self, conditions: Sequence[str]) -> Tensor:
        """Encode conditions, ``[batch, ...]``.

        Raises:
            UserError: A condition that the model does not know.
        """

    @abstractmethod
    def embed_null(self) -> Tensor:
        """Encode the null condition, ``[1, ...]``."""

    @abstractmethod
    def predict(self, x: Tensor, t: int, embedding: Tensor) -> Tensor:
        """Raw network output at ``x`` ``[batch, *latent_shape]``, in :attr:`prediction_type`. Differentiable in x."""

    def network(self, x: Tensor, t: Tensor, embedding: Tensor) -> Tensor:
        """As :meth:`predict`, with the timestep as a tensor (int64, no dimensions) on the device, and no wait for it.

        Raises:
            NotApplicableError: The model has no network.
        """
        raise NotApplicableError(f"{self.name} has no network")

    @abstractmethod
    def fingerprint(self) -> str:
        """SHA-256 of all that decides the model's output."""

    def decode(self, x0: Tensor) -> Tensor:
        """Turn clean latents into images ``[batch, channels, height, width]`` in [0, 1].

        Raises:
            NotApplicableError: The model's samples are not images.
        """
        raise NotApplicableError(f"{self.name} does not generate images")

    def training_images(self) -> Tensor:
        """Training images that are known, ``[n, channels, height, width]`` in [0, 1], as :meth:`decode` gives them.

        Raises:
            NotApplicableError: None are known.
        """
        raise NotApplicableError(f"no training images of {self.name} are known")

    def attention(self, x: Tensor, t: int, embedding: Tensor) -> tuple[Tensor, list[AttentionLayer]]:
        """Noise prediction, and the cross-attention of every layer on the way to it. One forward.

        Raises:
            NotApplicableError: The model has no cross-attention.
        """
        raise NotApplicableError(f"{self.name} has no cross-attention")

    def end_positions(self, conditions: Sequence[str]) -> Tensor:
        """Position of the end token of each condition among the tokens that attention sees, int64 ``[batch]``.

        Raises:
            NotApplicableError: Conditions have no tokens.
        """
        raise NotApplicableError(f"the conditions of {self.name} have no tokens")

    def are_cut(self, conditions: Sequence[str]) -> list[bool]:
        """Whether each condition is longer than what the model reads of it."""
        return [False] * len(conditions)

    def bottleneck(self, x: Tensor, t: int, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """Noise prediction, and the activation of the network's middle block, ``[batch, ...]``. One forward.

        Raises:
            NotApplicableError: The model has no middle block.
        """
        raise NotApplicableError(f"{self.name} has no middle block")

    def eps(self, x: Tensor, t: int, embedding: Tensor) -> Tensor:
        """Noise prediction at ``x``, whatever the network predicts."""
        output = self.predict(x, t, embedding)
        return eps_from_output(output, x, self.schedule.alpha(t), self.schedule.sigma(t), self.prediction_type)

    def score(self, x: Tensor, t: int, embedding: Tensor) -> Tensor:
        """Gradient of the log density of ``x_t`` given the condition: ``-eps / sigma``."""
        return -self.eps(x, t, embedding) / self.schedule.sigma(t)

    def __repr__(self) -> str:
        what = f"{self.name!r}, latent {self.latent_shape}, {self.prediction_type}, {self.device}"
        return f"{type(self).__name__}({what}, {str(self.dtype).removeprefix('torch.')})"


def time_on(device: torch.device, t: int) -> Tensor:
    """A timestep as a tensor without dimensions, int64; filled on the device, so that nobody waits for a copy."""
    return torch.full((), t, dtype=torch.int64, device=device)
