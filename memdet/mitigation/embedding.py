"""Captions whose embedding was moved, as several mitigations do it."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from memdet.mitigation.descent import descend, norms
from memdet.mitigation.sampler import Sampler
from memdet.models.condition import Condition

DECAY = 0.01  # of the weights, torch's default of AdamW
Signal = Callable[[Sampler, Condition], Tensor]
"""From some items and their conditions to a number each that is to be lowered, ``[k]``."""


def engineered(sampler: Sampler, signal: Signal, *, rate: float, steps: int, target: float | None) -> Condition:
    """The conditions of the items after AdamW has lowered a signal of their embeddings.

    The first token, which begins every text, gets no gradient where a text is a row of tokens, as in the official code
    of Wen et al.; its weights decay with the others.

    Args:
        sampler: The items.
        signal: What is lowered.
        rate: Learning rate.
        steps: At most.
        target: Of the signal, at which an item stays as it is.

    Raises:
        NotApplicableError: Conditions are no embedding.
    """

    def loss(part: Sampler, embedding: Tensor) -> Tensor:
        if embedding.ndim == 3 and embedding.shape[1] > 1:
            first = embedding[:, :1]
            embedding = _joined(first.detach(), embedding[:, 1:])
        return signal(part, part.with_embedding(embedding))

    moved = descend(sampler, sampler.embedding, loss, rate=rate, steps=steps, target=target, decay=DECAY)
    return sampler.with_embedding(moved)


def first_step_norm(sampler: Sampler) -> Signal:
    """``norm(D)`` at the first step from the items' own x_T, as a function of their conditions.

    One forward for all null predictions, and one each time it is asked.

    Args:
        sampler: All items that will be asked about.
    """
    import torch

    x, t = sampler.start(), sampler.timesteps[0]
    null = sampler.output(x, t, sampler.null)
    place = {row: position for position, row in enumerate(sampler.rows)}

    def signal(part: Sampler, condition: Condition) -> Tensor:
        own = torch.tensor([place[row] for row in part.rows], device=x.device)
        return norms(part.difference_of(part.output(x[own], t, condition), null[own], t))

    return signal


def _joined(first: Tensor, rest: Tensor) -> Tensor:
    import torch

    return torch.cat([first, rest], dim=1)
