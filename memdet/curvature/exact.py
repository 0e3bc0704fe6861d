"""The whole spectrum, from the whole Jacobian."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch import Tensor

from memdet.curvature.checks import finite
from memdet.torch_state import answers_in_own_state

Product = Callable[[Tensor], Tensor]


@answers_in_own_state
def jacobian_matrix(product: Product, like: Tensor, memory: int | None = None) -> Tensor:
    """The matrix whose columns are the products with the unit vectors, ``[batch, d, d]``; d products.

    Args:
        product: ``v -> J v``; with ``v -> J^T v``, the cheaper one where a graph is kept, the result is ``J^T``.
        like: Any tensor of the shape, dtype and device of ``v``, ``[batch, ...]``.
        memory: Largest size in bytes; None takes half of what the device has free.

    Raises:
        ValueError: The matrix does not fit, or a product is not finite.
    """
    batch, d = len(like), like[0].numel()
    needed = batch * d * d * like.element_size()
    allowed = _free(like.device) // 2 if memory is None else memory
    if needed > allowed:
        raise ValueError(
            f"the whole Jacobian of {batch} items in {d:,} dimensions takes {needed / 2**30:.1f} GiB, and "
            f"{allowed / 2**30:.1f} GiB may be used: take fewer items, or extreme eigenvalues by krylov()"
        )
    matrix = like.new_empty(batch, d, d)
    unit = like.new_zeros(d)
    for column in range(d):
        unit.zero_()
        unit[column] = 1
        matrix[:, :, column] = product(unit.view(like.shape[1:]).expand(like.shape)).reshape(batch, d)
    finite("J", matrix)
    return matrix


@answers_in_own_state
def full_spectrum(product: Product, like: Tensor, chunk: int = 8, memory: int | None = None) -> Tensor:
    """All eigenvalues of the symmetric part of each item, ascending, ``[batch, d]`` float64. Exact; d products.

    Args:
        product: ``v -> J v`` or ``v -> J^T v``; the symmetric part is the same.
        like: Any tensor of the shape, dtype and device of ``v``, ``[batch, ...]``.
        chunk: As in :func:`eigenvalues`.
        memory: As in :func:`jacobian_matrix`.

    Raises:
        ValueError: The matrix does not fit, or a product is not finite.
    """
    return eigenvalues(jacobian_matrix(product, like, memory), chunk)


@answers_in_own_state
def eigenvalues(matrix: Tensor, chunk: int = 8) -> Tensor:
    """Eigenvalues of the symmetric part of each matrix ``[batch, d, d]``, ascending, ``[batch, d]`` float64.

    Args:
        matrix: In any precision.
        chunk: Items that are taken to float64 and decomposed at a time.
    """
    spectra = []
    for part in torch.split(matrix, chunk):
        wide = part.double()
        spectra.append(torch.linalg.eigvalsh((wide + wide.transpose(1, 2)) / 2))
    return torch.cat(spectra)


def _free(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 2**33
