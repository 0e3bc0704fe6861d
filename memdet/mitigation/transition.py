"""Guidance that sets in where each trajectory has left its attraction basin."""

from __future__ import annotations

import torch
from torch import Tensor

from memdet.mitigation.descent import norms
from memdet.mitigation.sampler import Sampler


def until_minimum(sampler: Sampler, before: float) -> Tensor:
    """The clean sample of a trajectory that follows one guidance until the first local minimum of ``norm(D)``.

    Args:
        sampler: The items; each has a transition of its own.
        before: Guidance until there; 0 is the null branch alone, 1 the condition alone.

    Raises:
        NotApplicableError: The model has no null branch.
    """
    x, left = sampler.start(), torch.zeros(len(sampler), dtype=torch.bool, device=sampler.model.device)
    curve: list[Tensor] = []
    for index, t in enumerate(sampler.timesteps):
        cond, null = sampler.output(x, t, sampler.condition), sampler.output(x, t, sampler.null)
        curve.append(norms(sampler.difference_of(cond, null, t).double()))
        if index >= 2:
            earlier, last, now = curve[-3:]
            left = left | ((last < earlier) & (last < now))
        own = {0.0: null, 1.0: cond}.get(before)
        early = sampler.model.guided(cond, null, before) if own is None else own
        late = sampler.model.guided(cond, null, sampler.guidance)
        x = sampler.step(index, x, torch.where(left.view(-1, *[1] * (x.ndim - 1)), late, early))
    return x
