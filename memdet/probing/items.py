"""What a probe is asked about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from memdet.errors import NotApplicableError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, repr=False)
class Items:
    """A batch of items.

    Attributes:
        ids, conditions, clusters: One string an item.
        labels: 1 memorized, 0 not; only supervised controls may look.
        has_prompts: Whether the conditions are text.
        images: What is judged in the task ``image``, ``[n, *latent_shape]``; None in the task ``prompt``.
    """

    ids: Sequence[str]
    conditions: Sequence[str]
    clusters: Sequence[str]
    labels: Sequence[int]
    has_prompts: bool
    images: Tensor | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        if self.images is not None:
            return f"Items({len(self)} images of shape {tuple(self.images.shape[1:])})"
        return f"Items({len(self)} {'prompts' if self.has_prompts else 'conditions'})"

    @property
    def prompts(self) -> Sequence[str]:
        """The conditions, where they are text.

        Raises:
            NotApplicableError: They are not.
        """
        if not self.has_prompts:
            raise NotApplicableError("the conditions of this sample set are not text")
        return self.conditions
