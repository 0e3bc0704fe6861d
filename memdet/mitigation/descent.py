"""Gradient descent on one tensor an item, each stopping for itself, as several mitigations do it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from memdet.mitigation.sampler import Sampler

Loss = Callable[[Sampler, Tensor], Tensor]
"""From some items and their tensors ``[k, ...]`` to a number each, ``[k]``."""
FIRST, SECOND, TINY = 0.9, 0.999, 1e-8  # of Adam (Kingma and Ba 2015), as torch has them


class Adam:
    """Adam, or AdamW where weights decay, for rows that do not interact; all usual constants.

    Args:
        like: The tensor that is moved.
        rate: Learning rate.
        decay: Of the weights (Loshchilov and Hutter 2019): ``rate decay`` of them goes at each step.
    """

    def __init__(self, like: Tensor, rate: float, decay: float = 0.0) -> None:
        self._rate, self._decay, self._count = rate, decay, 0
        self._first, self._second = torch.zeros_like(like), torch.zeros_like(like)

    def moved(self, value: Tensor, slope: Tensor, rows: Tensor) -> Tensor:
        """Some rows after one more step; every one of them took part in all steps before.

        Args:
            value, slope: Of these rows.
            rows: Their positions.
        """
        self._count += 1
        self._first[rows] = FIRST * self._first[rows] + (1 - FIRST) * slope
        self._second[rows] = SECOND * self._second[rows] + (1 - SECOND) * slope.square()
        mean = self._first[rows] / (1 - FIRST**self._count)
        spread = (self._second[rows] / (1 - SECOND**self._count)).sqrt()
        return value * (1 - self._rate * self._decay) - self._rate * mean / (spread + TINY)


def descend(
    sampler: Sampler,
    start: Tensor,
    loss: Loss,
    *,
    rate: float,
    steps: int,
    target: float | None = None,
    decay: float = 0.0,
) -> Tensor:
    """Where Adam leads from a start, at most so many steps; an item stays where its loss has met the target.

    The loss is looked at before each step, and not after the last. Half precision is kept in single meanwhile, whose
    small steps it would round away.

    Args:
        sampler: The items.
        start: ``[len(sampler), ...]``.
        loss: What is lowered; asked of the items that still move.
        rate: Learning rate.
        steps: At most.
        target: Of the loss; None takes all steps.
        decay: Of the weights, for AdamW.
    """
    value = start.detach().to(torch.promote_types(start.dtype, torch.float32), copy=True)
    adam, rows = Adam(value, rate, decay), torch.arange(len(sampler), device=value.device)
    for _ in range(steps):
        part, moving = sampler.only(rows), value[rows].detach().requires_grad_(True)
        part.begin_graph()
        losses = loss(part, moving.to(start.dtype))
        keep = torch.ones_like(losses, dtype=torch.bool) if target is None else losses.detach() > target
        if not keep.any():
            break
        slope = part.gradient(losses, moving, keep)
        rows, slope, moving = rows[keep], slope[keep], moving.detach()[keep]
        value[rows] = adam.moved(moving, slope, rows)
    sampler.begin_graph()
    return value.to(start.dtype)


def norms(tensor: Tensor) -> Tensor:
    """Euclidean norm of each row, ``[n]``."""
    found: Tensor = tensor.flatten(1).norm(dim=1)
    return found
