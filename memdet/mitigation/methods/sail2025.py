"""A starting noise where the density is not sharp (SAIL, Jeon et al., ICML 2025)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from memdet.mitigation.base import Mitigation, MitigationInfo

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.mitigation.sampler import Sampler

WEIGHT = {"eps": 0.05, "v": 0.01}
"""Of the norm of x_T, which the authors keep for Stable Diffusion 1 and 2."""
THRESHOLD = {"eps": 8.2, "v": 5.0}
"""At which their code stops, for latents of 4 x 64 x 64."""
RAISED = 0.1  # by which the threshold rises where no candidate has met it


class SharpnessAwareInitialisation(Mitigation):
    """Adam on x_T, down ``norm(s_D(x_T + d s_D(x_T)) - s_D(x_T))^2 + a norm(x_T)^2``; then the protocol's trajectory.

    ``s_D = s_c - s_u`` at the first timestep. The first term is, to first order and but for d^2, the square of
    ``H_D s_D``, whose norm is what the detector ``jeon2025`` scores: x_T moves to where the sharpness of the condition
    does not exceed that of the null branch. The second keeps x_T likely under the normal law.

    Paper: Jeon, Kim, No, "Understanding and Mitigating Memorization in Generative Models via Sharpness of Probability
    Landscapes", ICML 2025, arXiv 2412.04140, section 5 and algorithm 2. The official code does something else, which
    is ``of=code``: the loss is ``norm(D(x_T + u)) + a norm(x_T)``, without the difference and without squares, and u is
    the unit vector along D **at the noise that the descent started from**, not at x_T. Eight noises descend at once,
    the first whose loss meets a threshold is taken, and where none does in ten steps the threshold rises by .1 and
    eight others start. (Their code tries the same eight three times over before that, to the same end.)

    Attributes:
        of: ``paper`` or ``code``.
        rate: Of Adam.
        steps: Of Adam, at most.
        delta: d; None is 1 over the norm of s_D(x_T), a step of length 1, as algorithm 2 normalises it. For ``paper``.
        weight: a; None takes the authors' .05, and .01 where the network predicts v.
        threshold: Of the loss, below which x_T stays; None takes all steps for ``paper``, whose squared loss the paper
            gives none for, and 8.2 for ``code``, 5 where the network predicts v. It is that of 4 x 64 x 64 latents; for
            others it is scaled as norms are, or their squares.
        candidates: Noises at once, for ``code``: the first is the item's own x_T.
        rounds: How often others start, for ``code``; without a candidate that meets the threshold the best is taken.
    """

    info = MitigationInfo(
        name="sail2025",
        title="starting noise moved to where the score difference is not sharp",
        paper="jeon2025sharpness",
        year=2025,
        access="gradient",
        cost="2 T F + 4 steps F + 4 steps VJP",
        fidelity="deviates",
        deviation=(
            "the paper stops at thresholds that fit the loss of its code, without squares; for the loss that it prints "
            "there is none, and all steps are taken. In of=code the noises are those of the seed, a search ends after "
            "some rounds with the best candidate, and thresholds are scaled to the number of latents."
        ),
    )
    of: Literal["paper", "code"] = "paper"
    rate: PositiveFloat = 0.05
    steps: PositiveInt = 10
    delta: PositiveFloat | None = None
    weight: Annotated[float, Field(ge=0)] | None = None
    threshold: PositiveFloat | None = None
    candidates: PositiveInt = 8
    rounds: PositiveInt = 5

    def sample(self, sampler: Sampler) -> Tensor:
        """Clean latents, one an item.

        Raises:
            NotApplicableError: The model has no null branch; for ``code`` also pure noise at the first timestep.
        """
        from memdet.mitigation.descent import descend

        if self.of == "code":
            return sampler.follow(self._searched(sampler))
        target = None if self.threshold is None else self.threshold * sampler.unit(2)
        start = descend(sampler, sampler.start(), self.loss, rate=self.rate, steps=self.steps, target=target)
        return sampler.follow(start)

    def loss(self, sampler: Sampler, x: Tensor) -> Tensor:
        """What the paper lowers, ``[n]``; differentiable in ``x``. Four forwards."""
        from memdet.mitigation.descent import norms

        t = sampler.timesteps[0]
        here = sampler.score_difference(x, t)
        length = norms(here).clamp_min(1e-12).view(-1, *[1] * (x.ndim - 1))
        moved = x + (here / length if self.delta is None else self.delta * here)
        change = sampler.score_difference(moved, t) - here
        return change.flatten(1).square().sum(dim=1) + self._weight(sampler) * x.flatten(1).square().sum(dim=1)

    def _weight(self, sampler: Sampler) -> float:
        kind = "v" if sampler.model.prediction_type == "v" else "eps"
        return WEIGHT[kind] if self.weight is None else self.weight

    def _searched(self, sampler: Sampler) -> Tensor:
        """Of each item the first candidate that meets the threshold."""
        import torch

        sampler.whole.probe.refuse_pure_noise(sampler.timesteps[0])
        kind = "v" if sampler.model.prediction_type == "v" else "eps"
        threshold = (THRESHOLD[kind] if self.threshold is None else self.threshold) * sampler.unit()
        found, rows = sampler.start().clone(), torch.arange(len(sampler))
        best = torch.full((len(sampler),), torch.inf, dtype=torch.float64)
        for round_ in range(self.rounds):
            for row in rows.tolist():
                draws = range(round_ * self.candidates, (round_ + 1) * self.candidates)
                one = sampler.only([row] * self.candidates)
                noises = torch.cat([sampler.only([row]).start(draw) for draw in draws])
                candidate, loss = self._descended(one, noises, threshold + round_ * RAISED * sampler.unit())
                if loss < best[row]:
                    found[row], best[row] = candidate, loss
            rows = rows[best[rows] > threshold + round_ * RAISED * sampler.unit()]
            if not len(rows):
                return found
        sampler.note(f"no candidate met the threshold in {self.rounds} rounds; the best was taken")
        return found

    def _descended(self, candidates: Sampler, noises: Tensor, threshold: float) -> tuple[Tensor, float]:
        """The first candidate of one item whose loss meets the threshold, else the best at the last look."""
        import torch

        from memdet.mitigation.descent import Adam

        x, adam, rows = noises.clone(), Adam(noises, self.rate), torch.arange(len(noises), device=noises.device)
        best, least = x[0], float("inf")
        for _ in range(self.steps):
            moving = x.detach().requires_grad_(True)
            candidates.begin_graph()
            losses = self.loss_of_code(candidates, moving, noises)
            lowest = int(losses.detach().argmin())
            if (met := (losses.detach() <= threshold).nonzero().flatten()).numel():
                return moving.detach()[met[0]], float(losses.detach()[met[0]])
            if float(losses.detach()[lowest]) < least:
                best, least = moving.detach()[lowest], float(losses.detach()[lowest])
            x = adam.moved(x, candidates.gradient(losses, moving), rows)
        return best, least

    def loss_of_code(self, sampler: Sampler, x: Tensor, start: Tensor) -> Tensor:
        """What the official code lowers, ``[n]``.

        Its derivative goes through the direction too, as if the noise that this is taken at moved along with x.

        Args:
            sampler: The items.
            x: Noises, differentiable.
            start: Where their descent started.
        """
        from memdet.mitigation.descent import norms

        at_start = start + (x - x.detach())
        here = self._difference_of_code(sampler, at_start)
        unit = here / norms(here).clamp_min(1e-12).view(-1, *[1] * (x.ndim - 1))
        return norms(self._difference_of_code(sampler, x + unit)) + self._weight(sampler) * norms(x)

    def _difference_of_code(self, sampler: Sampler, x: Tensor) -> Tensor:
        """D of noise predictions; where the network predicts v, the difference of the scores, but for its sign."""
        t, kind, schedule = sampler.timesteps[0], sampler.model.prediction_type, sampler.model.schedule
        difference = sampler.difference(x, t)
        if kind == "eps":
            return difference
        in_noise = schedule.alpha(t) * difference
        return in_noise / schedule.sigma(t) if kind == "v" else in_noise
