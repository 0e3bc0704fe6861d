"""The nearest training images of a generation: of all of them, exactly."""

from __future__ import annotations

import torch
from torch import Tensor

_SPARE = 8  # candidates beyond those asked for: rounding may put neighbours of one distance in another order
_NUMBERS = 2**22  # of images at once, in float64


def nearest_images(images: Tensor, known: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Distances to the nearest of many images, and which these are, by a search through all of them.

    Candidates are found by matrix products, whose rounding hides differences far below a grey level; the distances are
    those of the differences themselves, so that an image among those known has the distance 0.

    Args:
        images: ``[n, ...]``.
        known: ``[m, ...]`` of the same shape, at least ``count``.
        count: How many neighbours.

    Returns:
        Root mean square differences and indices into ``known``, both ``[n, count]``, nearest first, float64 and int64;
        of two at the same distance the one with the lower index. NaN for an image that is not finite.

    Example:
        >>> distances, where = nearest_images(torch.tensor([[0.0]]), torch.tensor([[3.0], [-1.0], [2.0]]), 2)
        >>> distances.tolist(), where.tolist()
        ([[1.0, 2.0]], [[1, 2]])
    """
    flat, bank = images.flatten(1).double(), known.flatten(1)
    taken = min(len(bank), count + _SPARE)
    best, where = flat.new_empty(len(flat), 0), torch.empty(len(flat), 0, dtype=torch.int64, device=flat.device)
    chunk = max(1, _NUMBERS // bank.shape[1])
    for start in range(0, len(bank), chunk):
        part = bank[start : start + chunk].double()
        squares = part.square().sum(dim=1) - 2 * flat @ part.T  # less the same number for all
        indices = torch.arange(start, start + len(part), device=flat.device).expand(len(flat), -1)
        best, where = torch.cat([best, squares], dim=1), torch.cat([where, indices], dim=1)
        best, order = best.topk(min(taken, best.shape[1]), dim=1, largest=False)
        where = where.gather(1, order)
    where, rows = where.sort(dim=1).values, max(1, chunk // taken)
    exact = torch.cat(
        [
            (x[:, None] - bank[chosen].double()).square().mean(dim=2)
            for x, chosen in zip(torch.split(flat, rows), torch.split(where, rows), strict=True)
        ]
    )
    distances, order = exact.sqrt().sort(dim=1, stable=True)
    return distances[:, :count], where.gather(1, order)[:, :count]
