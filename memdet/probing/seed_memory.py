"""What all batches of one seed share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from memdet.curvature import Backend
from memdet.probing.memo import Changed, Memo


class SeedMemory:
    """What all batches of one seed share: draws, what follows from draws alone, and constants from dev items.

    Attributes:
        shared: Draws, and answers to questions about nothing else, as tensors of one row; training images.
        constants: What detectors took from the dev items.
        checked: Backends whose Jacobian operators have tested themselves.
        dev: Asks about the dev items.
        generation: How often everything was forgotten.
    """

    def __init__(self) -> None:
        self.shared, self.constants = Memo(), Memo()
        self.checked: set[Backend] = set()
        self.dev: Any = None  # an evaluator, which has a memory itself
        self.generation = 0
        self._layouts: dict[int, tuple[torch.Size, tuple[int, ...]]] = {}

    def forget(self) -> None:
        """Let go of everything. What is remembered of dev items would else wait for the garbage collector."""
        if self.dev is not None:
            self.dev.forget()
        self.shared.clear()
        self.constants.clear()
        self.checked.clear()
        self._layouts.clear()
        self.dev = None
        self.generation += 1

    def share(self, one: Tensor) -> None:
        """Note that rows like this one, ``[1, ...]``, are the same for all items."""
        self._layouts[one.data_ptr()] = (one.shape[1:], one.stride()[1:])

    def is_shared(self, tensor: Tensor) -> bool:
        """Whether all rows of a tensor are one draw of the seed, or follow from such draws alone."""
        layout = self._layouts.get(tensor.data_ptr())
        return layout == (tensor.shape[1:], tensor.stride()[1:]) and (len(tensor) == 1 or tensor.stride(0) == 0)

    def changed(self) -> list[Changed]:
        """What was changed in place, that of the dev items included."""
        of_dev = self.dev.changed() if self.dev is not None else []
        return [
            *self.shared.changed(),
            *self.constants.changed(),
            *(replace(found, what=f"{found.what} of the dev items") for found in of_dev),
        ]
