"""Where detectors look: deterministic DDIM trajectories, extended only as far as somebody asks, and noisy images."""

from __future__ import annotations

from torch import Tensor

from memdet.errors import NotApplicableError
from memdet.models import ScoreModel
from memdet.models.prediction_type import eps_from_output, x0_from_output
from memdet.probing.draws import Draws
from memdet.probing.evaluator import Evaluator
from memdet.probing.neighbours import nearest_images
from memdet.torch_state import answers_in_own_state

_NEIGHBOURS = 50  # of a search, which finds as many as any detector asks for by default


@answers_in_own_state
class Trajectory:
    """DDIM (eta = 0; Song et al. 2021), step for step as diffusers' ``DDIMScheduler`` of the model's own configuration.

    Where that clips the predicted clean sample, the trajectory does. What the model answers at a state is never
    clipped.

    Args:
        evaluator: Gives predictions.
        start: The starting noise, ``[batch, *latent_shape]``.
        timesteps: Of the steps, noisiest first.
        landings: Alpha and sigma that each step ends at.
        guidance: Classifier-free guidance scale; 1 follows the condition alone and 0 the null branch alone, each at one
            forward a step instead of two.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        start: Tensor,
        timesteps: list[int],
        landings: list[tuple[float, float]],
        guidance: float,
    ) -> None:
        self._evaluator, self._guidance = evaluator, guidance
        self.timesteps, self._landings = timesteps, landings
        self._states: list[Tensor] = [start]

    def state(self, index: int) -> Tensor:
        """Latents before step ``index``, ``[batch, *latent_shape]``; index ``steps`` gives the clean sample.

        Raises:
            NotApplicableError: The trajectory is shorter.
        """
        if not 0 <= index <= len(self.timesteps):
            raise NotApplicableError(f"the trajectory has {len(self.timesteps)} steps, not {index}")
        for i in range(index):
            # Asked even where the state is known: whoever uses a state pays for all that leads to it.
            output = self.guided_output(i)
            if i + 1 < len(self._states):
                continue
            x, t, landing = self._states[i], self.timesteps[i], self._landings[i]

            def step(x: Tensor, output: Tensor, t: int = t, landing: tuple[float, float] = landing) -> Tensor:
                return stepped(self._evaluator.model, x, output, t, landing)

            key, what = ("step", t, *landing), f"trajectory(...).state({i + 1})"
            self._states.append(self._evaluator.step(key, step, x, output, what))
        return self._states[index]

    def clean(self) -> Tensor:
        """The clean sample at the end, ``[batch, *latent_shape]``."""
        return self.state(len(self.timesteps))

    def guided_output(self, index: int) -> Tensor:
        """Network output of step ``index`` under guidance."""
        x, t = self._states[index], self.timesteps[index]
        if self._guidance == 1:
            return self._evaluator.output(x, t, "cond")
        if self._guidance == 0:
            return self._evaluator.output(x, t, "null")
        cond, null = self._evaluator.both(x, t)
        return self._evaluator.model.guided(cond, null, self._guidance)


def stepped(model: ScoreModel, x: Tensor, output: Tensor, t: float, landing: tuple[float, float]) -> Tensor:
    """One step of DDIM, which of a flow model is one of Euler.

    Args:
        model: Whose schedule and prediction type hold.
        x: Where, ``[batch, *latent_shape]``.
        output: Of the network there, under guidance.
        t: The timestep of ``x``.
        landing: Alpha and sigma that the step ends at.
    """
    schedule, (alpha, sigma) = model.schedule, landing
    levels = schedule.alpha(t), schedule.sigma(t), model.prediction_type
    x0 = schedule.limited(x0_from_output(output, x, *levels))
    return alpha * x0 + sigma * eps_from_output(output, x, *levels)


class Places:
    """Places of one batch where detectors look. Arguments, results and errors are those of the methods of a probe.

    Args:
        evaluator: Gives predictions.
        draws: Gives starting noises.
    """

    def __init__(self, evaluator: Evaluator, draws: Draws) -> None:
        self._evaluator, self._draws = evaluator, draws

    @property
    def timesteps(self) -> list[int]:
        """Timesteps of the default trajectory, first (noisiest) to last."""
        return self._evaluator.model.schedule.timesteps(self._evaluator.context.protocol.steps)

    def nearest_timestep(self, t: int) -> int:
        """The timestep of the default trajectory that is nearest to ``t``; of two the noisier.

        Raises:
            ValueError: No timestep of the schedule.
        """
        self._evaluator.model.schedule.check(t)
        return min(self.timesteps, key=lambda timestep: abs(timestep - t))

    def trajectory(self, steps: int | None, guidance: float | None, draw: int) -> Trajectory:
        """Trajectory of the protocol, or another; of a model without a null branch the condition is followed alone."""
        evaluator, protocol = self._evaluator, self._evaluator.context.protocol
        if evaluator.items.images is not None:
            raise NotApplicableError("the items are images; a trajectory from noise does not meet them")
        length = protocol.steps if steps is None else steps
        scale = protocol.guidance if guidance is None else guidance
        if scale not in (0, 1) and not self._has_null():
            scale = 1  # as a pipeline without a null branch generates
        schedule, start = evaluator.model.schedule, self._draws.start(draw, length)
        path = schedule.timesteps(length), schedule.landings(length)
        key = ("trajectory", length, scale, draw)
        return evaluator.remember(key, "trajectory(...)", lambda: Trajectory(evaluator, start, *path, scale))

    def _large_steps(self, index: int, steps: int, guidance: float) -> Trajectory:
        """From noise to a place of the default trajectory in a few steps between some of its timesteps."""
        evaluator, schedule = self._evaluator, self._evaluator.model.schedule
        start = self._draws.start(0, len(self.timesteps))
        places = [self.timesteps[round(index * step / steps)] for step in range(steps + 1)]
        path = places[:-1], [(schedule.alpha(t), schedule.sigma(t)) for t in places[1:]]
        key = ("large-steps", index, steps, guidance)
        return evaluator.remember(key, "at(..., steps=...)", lambda: Trajectory(evaluator, start, *path, guidance))

    def _has_null(self) -> bool:
        try:
            self._evaluator.condition("null", 1)
        except NotApplicableError:
            return False
        return True

    def at(self, t: int | None, guidance: float, *, pure_noise: bool, steps: int | None) -> tuple[Tensor, int]:
        """On the trajectory, or at a noisy image."""
        evaluator, timesteps = self._evaluator, self.timesteps
        first = int(not pure_noise and len(timesteps) > 1 and evaluator.model.schedule.is_pure_noise(timesteps[0]))
        index = first if t is None else timesteps.index(self.nearest_timestep(t))
        if evaluator.items.images is not None:
            schedule = evaluator.model.schedule
            alpha, sigma = schedule.alpha(timesteps[index]), schedule.sigma(timesteps[index])

            def noisy() -> Tensor:
                return alpha * evaluator.place(evaluator.images) + sigma * self._draws.starting_noise(0)

            return evaluator.remember(("noisy", index), f"at({timesteps[index]})", noisy), timesteps[index]
        if index == 0:
            return self._draws.start(0, len(timesteps)), timesteps[0]
        if steps is not None and steps < index:
            return self._large_steps(index, steps, guidance).state(steps), timesteps[index]
        return self.trajectory(None, guidance, 0).state(index), timesteps[index]

    def clean(self, draw: int) -> Tensor:
        """The image, or the end of the trajectory."""
        evaluator = self._evaluator
        if evaluator.items.images is not None:
            return evaluator.remember(("clean",), "clean()", lambda: evaluator.place(evaluator.images))
        return self.trajectory(None, None, draw).clean()

    def generated(self, draw: int) -> Tensor:
        """The decoded end of the trajectory."""
        clean = self.clean(draw)
        return self._evaluator.remember(("generated", draw), "generated()", lambda: self._evaluator.model.decode(clean))

    @property
    def training_images(self) -> Tensor:
        """Training images that are known, read once a seed."""
        shared = self._evaluator.memory.shared
        return shared.remember(("training-images",), "training_images", self._evaluator.model.training_images)

    def nearest_training(self, count: int) -> tuple[Tensor, Tensor]:
        """Neighbours of what is generated; some more than asked for, so that detectors share one search."""
        known, images = self.training_images, self.generated(0)  # which everyone who asks pays for
        if len(known) < count:
            raise NotApplicableError(f"{count} neighbours are asked for, and {len(known)} training images are known")
        searched = max(count, min(_NEIGHBOURS, len(known)))
        distances, where = self._evaluator.remember(
            ("nearest-training", searched),
            "nearest_training(...)",
            lambda: nearest_images(images, known, searched),
        )
        return distances[:, :count], where[:, :count]
