"""What every score model offers to the floors above."""

from __future__ import annotations

import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from memdet.errors import NotApplicableError
from memdet.models.arguments import checked_device, checked_dtype, checked_shape
from memdet.models.condition import Condition
from memdet.models.diffusers.recording import AttentionLayer
from memdet.models.prediction_type import PredictionType, eps_from_output
from memdet.models.schedule import NoiseSchedule

_OWN_NETWORK = "memdet.models.own_network:CallableModel"  # by name: it is a score model, and imports this module
Encoded = Tensor | Mapping[str, Tensor] | Condition
"""What a function of a user's own gives for conditions: a tensor, or several by the names of arguments."""


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
    def embed(self, conditions: Sequence[str]) -> Condition:
        """Encode conditions, a row each.

        Raises:
            UserError: A condition that the model does not know.
        """

    @abstractmethod
    def embed_null(self) -> Condition:
        """Encode the null condition, one row.

        Raises:
            NotApplicableError: The model has no null branch.
        """

    @abstractmethod
    def predict(self, x: Tensor, t: int, condition: Condition) -> Tensor:
        """Raw network output at ``x`` ``[batch, *latent_shape]``, in :attr:`prediction_type`. Differentiable in x.

        The condition has a row an item, or one for all.
        """

    def guided(self, cond: Tensor, null: Tensor, scale: float) -> Tensor:
        """Network output under guidance, of the outputs of both branches: ``null + scale (cond - null)``."""
        return null + scale * (cond - null)

    def network_time(self, x: Tensor, t: int) -> Tensor:
        """A timestep as :meth:`network` takes it for these samples, a tensor on their device: int64, no dimensions."""
        return time_on(x.device, t)

    def network(self, x: Tensor, t: Tensor, **condition: Tensor) -> Tensor:
        """As :meth:`predict`, with the timestep as :meth:`network_time` gives it, and no wait for the device.

        The tensors of the condition have a row an item.

        Raises:
            NotApplicableError: The model has no network.
        """
        raise NotApplicableError(f"{self.name} has no network")

    @abstractmethod
    def fingerprint(self) -> str:
        """SHA-256 of all that decides the model's output."""

    def files(self) -> dict[str, str]:
        """SHA-256 of each file that decides what the model answers, by its path in the model's directory, if any.

        Raises:
            UserError: A file is not the one that was there when the model was loaded.
        """
        return {}

    def decode(self, x0: Tensor) -> Tensor:
        """Turn clean latents into images ``[batch, channels, height, width]`` in [0, 1].

        Raises:
            NotApplicableError: The model's samples are not images.
        """
        raise NotApplicableError(f"{self.name} does not generate images")

    def encode(self, images: Tensor) -> Tensor:
        """Clean latents of images ``[batch, channels, height, width]`` in [0, 1], which :meth:`decode` turns back.

        Raises:
            NotApplicableError: The model's samples are no images, or nothing is there that encodes them.
        """
        raise NotApplicableError(f"{self.name} does not encode images")

    def training_images(self) -> Tensor:
        """All training images, each once, ``[n, channels, height, width]`` in [0, 1], as :meth:`decode` gives them.

        Raises:
            NotApplicableError: It is not known which they are.
        """
        raise NotApplicableError(f"no training images of {self.name} are known")

    def attention(self, x: Tensor, t: int, condition: Condition) -> tuple[Tensor, list[AttentionLayer]]:
        """Network output, and how every layer attends to the text on the way to it. One forward.

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

    def vocabulary(self) -> Sequence[str]:
        """Text of every token that a prompt may be made of, those with a meaning of their own left out.

        Raises:
            NotApplicableError: Conditions have no tokens.
        """
        raise NotApplicableError(f"the conditions of {self.name} have no tokens")

    def cross_attention(self) -> Mapping[str, torch.nn.Module]:
        """Layers in which a noisy sample attends to the text, by path: modules with ``to_q``, ``to_k``, ``to_v``.

        Raises:
            NotApplicableError: The model has none that can be reached.
        """
        raise NotApplicableError(f"{self.name} has no cross-attention")

    def are_cut(self, conditions: Sequence[str]) -> list[bool]:
        """Whether each condition is longer than what the model reads of it."""
        return [False] * len(conditions)

    def remarks(self) -> tuple[str, ...]:
        """What a user should know of how the model was read; a run says it."""
        return ()

    def bottleneck(self, x: Tensor, t: int, condition: Condition) -> tuple[Tensor, Tensor]:
        """Network output, and the activation of the network's middle block, ``[batch, ...]``. One forward.

        Raises:
            NotApplicableError: The model has no middle block.
        """
        raise NotApplicableError(f"{self.name} has no middle block")

    def eps(self, x: Tensor, t: int, condition: Condition) -> Tensor:
        """Noise prediction at ``x``, whatever the network predicts."""
        output = self.predict(x, t, condition)
        return eps_from_output(output, x, self.schedule.alpha(t), self.schedule.sigma(t), self.prediction_type)

    def score(self, x: Tensor, t: int, condition: Condition) -> Tensor:
        """Gradient of the log density of ``x_t`` given the condition: ``-eps / sigma``."""
        return -self.eps(x, t, condition) / self.schedule.sigma(t)

    # So many, because a network of one's own is told all that a pipeline's directory would tell.
    @staticmethod
    def from_callable(  # a model is all of this, said once
        fn: Callable[..., Tensor],
        *,
        shape: Sequence[int],
        schedule: NoiseSchedule,
        prediction: PredictionType = "eps",
        embed: Callable[[list[str]], Encoded] | None = None,
        null: Encoded | None = None,
        decode: Callable[[Tensor], Tensor] | None = None,
        name: str | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> ScoreModel:
        """A score model from a network of your own.

        Args:
            fn: ``fn(x, t, condition)`` gives the network's output, of the shape of ``x``; ``x`` is
                ``[batch, *shape]``, ``t`` one Python int, an index of the schedule, and ``condition`` what ``embed``
                gives, a row an item. Where ``embed`` gives several tensors by name, they are named:
                ``fn(x, t, **condition)``. An unconditional network, one without ``embed``, is called as ``fn(x, t)``.
                It is differentiated in ``x``; items of a batch do not interact, and dropout is off (``module.eval()``).
            shape: Of one noisy sample.
            schedule: Noise of every timestep, for example :meth:`NoiseSchedule.vp`.
            prediction: What ``fn`` returns: ``eps``, ``x0``, ``v`` or ``flow``.
            embed: From a list of conditions, as text, to a tensor ``[batch, ...]``, to a dictionary of such tensors, or
                to a :class:`~memdet.models.Condition`. Without it the network is unconditional.
            null: The encoded null condition, of one row. Without it there is no null branch. A detector that needs a
                null branch or a condition is then not applicable; all others run.
            decode: From clean samples to images ``[batch, channels, height, width]`` in [0, 1].
            name: Shown in tables; that of ``fn`` if not given.
            device, dtype: Of the inputs of ``fn``; what it holds must be there already. ``auto`` takes the fastest
                device here.

        Returns:
            The model. Its fingerprint covers code and weights as :func:`memdet.models.code_digest.digest_of_code`
            reads them: source that can be read in the package of ``fn``, closures, and the ``state_dict`` of modules.

        Raises:
            UserError: One of them is not what it should be: an unknown prediction type, say, or a null condition that
                is not one row of conditions.

        Example:
            A perfect network for standard normal data, whose score is ``-x``:

            >>> schedule = NoiseSchedule.vp([0.9, 0.5, 0.1])
            >>> def network(x, t):
            ...     return schedule.sigma(t) * x
            >>> model = ScoreModel.from_callable(network, shape=(2,), schedule=schedule)
            >>> model
            CallableModel('network', latent (2,), eps, cpu, float32)
            >>> model.score(torch.tensor([[1.0, 2.0]]), 1, model.embed(["all there is"]))
            tensor([[-1., -2.]])
        """
        made: ScoreModel = pkgutil.resolve_name(_OWN_NETWORK)(
            name,
            (fn, embed, null, decode),
            checked_shape(shape),
            schedule,
            prediction,
            checked_device(device),
            checked_dtype(dtype),
        )
        return made

    def __repr__(self) -> str:
        what = f"{self.name!r}, latent {self.latent_shape}, {self.prediction_type}, {self.device}"
        return f"{type(self).__name__}({what}, {str(self.dtype).removeprefix('torch.')})"


def time_on(device: torch.device, t: int) -> Tensor:
    """A timestep as a tensor without dimensions, int64; filled on the device, so that nobody waits for a copy."""
    return torch.full((), t, dtype=torch.int64, device=device)
