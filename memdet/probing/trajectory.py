"""Deterministic DDIM trajectories, extended only as far as somebody asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from memdet.errors import NotApplicableError

if TYPE_CHECKING:
    from memdet.probing.probe import Probe


class Trajectory:
    """DDIM (eta = 0; Song et al. 2021) from the starting noise of a probe.

    Args:
        probe: Gives noise and predictions.
        steps: Length.
        guidance: Classifier-free guidance scale; 1 follows the condition alone and 0 the null branch alone, each at one
            forward a step instead of two.
    """

    def __init__(self, probe: Probe, steps: int, guidance: float) -> None:
        self._probe, self._guidance = probe, guidance
        self.timesteps = probe.model.schedule.timesteps(steps)
        self._states: list[Tensor] = [probe.noise]

    def state(self, index: int) -> Tensor:
        """Latents before step ``index``, ``[batch, *latent_shape]``; index ``steps`` gives the clean sample.

        Raises:
            NotApplicableError: The trajectory is shorter.
        """
        if not 0 <= index <= len(self.timesteps):
            raise NotApplicableError(f"the trajectory has {len(self.timesteps)} steps, not {index}")
        schedule = self._probe.model.schedule
        for i in range(index):
            # Asked even where the state is known: whoever uses a state pays for all that leads to it.
            eps = self.guided_eps(i)
            if i + 1 < len(self._states):
                continue
            x, t = self._states[i], self.timesteps[i]
            last = i + 1 == len(self.timesteps)
            alpha = schedule.final_alpha if last else schedule.alpha(self.timesteps[i + 1])
            sigma = schedule.final_sigma if last else schedule.sigma(self.timesteps[i + 1])
            x0 = (x - schedule.sigma(t) * eps) / schedule.alpha(t)
            self._states.append(alpha * x0 + sigma * eps)
        return self._states[index]

    def end(self) -> Tensor:
        """The clean sample, ``[batch, *latent_shape]``, at the cost of the whole trajectory."""
        return self.state(len(self.timesteps))

    def guided_eps(self, index: int) -> Tensor:
        """Noise prediction of step ``index`` under guidance."""
        x, t = self._states[index], self.timesteps[index]
        if self._guidance == 1:
            return self._probe.eps(x, t, "cond")
        null = self._probe.eps(x, t, "null")
        if self._guidance == 0:
            return null
        return null + self._guidance * (self._probe.eps(x, t, "cond") - null)
