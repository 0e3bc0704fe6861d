"""Deterministic DDIM trajectories, extended only as far as somebody asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from memdet.errors import NotApplicableError

if TYPE_CHECKING:
    from memdet.probing.probe import Probe


class Trajectory:
    """DDIM (eta = 0; Song et al. 2021).

    Args:
        probe: Gives predictions.
        start: The starting noise, ``[batch, *latent_shape]``.
        steps: Length.
        guidance: Classifier-free guidance scale; 1 follows the condition alone and 0 the null branch alone, each at one
            forward a step instead of two.
    """

    def __init__(self, probe: Probe, start: Tensor, steps: int, guidance: float) -> None:
        self._probe, self._guidance = probe, guidance
        self.timesteps = probe.model.schedule.timesteps(steps)
        self._states: list[Tensor] = [start]

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

            def step(x: Tensor, eps: Tensor, t: int = t, alpha: float = alpha, sigma: float = sigma) -> Tensor:
                x0 = (x - schedule.sigma(t) * eps) / schedule.alpha(t)
                return alpha * x0 + sigma * eps

            self._states.append(self._probe.step(("step", len(self.timesteps), i), step, x, eps))
        return self._states[index]

    def clean(self) -> Tensor:
        """The clean sample at the end, ``[batch, *latent_shape]``."""
        return self.state(len(self.timesteps))

    def guided_eps(self, index: int) -> Tensor:
        """Noise prediction of step ``index`` under guidance."""
        x, t = self._states[index], self.timesteps[index]
        if self._guidance == 1:
            return self._probe.eps(x, t, "cond")
        if self._guidance == 0:
            return self._probe.eps(x, t, "null")
        cond, null = self._probe.both(x, t)
        return null + self._guidance * (cond - null)
