"""Controls whose scores rest on names, texts and labels alone, and which are computed without torch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from memdet.detectors.base import Detector
from memdet.probing.items import Items

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from memdet.probing import Probe


@dataclass(frozen=True)
class Told:
    """What a blind control is told of some items: that part of a probe which needs neither model nor torch.

    Attributes:
        items: Prompts, families, labels and names.
        seed: Of :meth:`uniform`.
        notes: What the control says beside its scores.
    """

    items: Items
    seed: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def prompts(self) -> Sequence[str]:
        """As :attr:`memdet.probing.Probe.prompts`."""
        return self.items.prompts

    @property
    def clusters(self) -> Sequence[str]:
        """As :attr:`memdet.probing.Probe.clusters`."""
        return self.items.clusters

    @property
    def labels(self) -> Sequence[int]:
        """As :attr:`memdet.probing.Probe.labels`."""
        return self.items.labels

    def uniform(self) -> NDArray[np.float64]:
        """As :meth:`memdet.probing.Probe.uniform`."""
        import numpy as np

        from memdet.probing.uniform import item_uniform

        return np.array([item_uniform(self.seed, name) for name in self.items.ids], dtype=np.float64)

    def note(self, text: str) -> None:
        """As :meth:`memdet.probing.Probe.note`."""
        if text not in self.notes:
            self.notes.append(text)


class BlindControl(Detector):
    """A control that reads names, texts and labels alone: a run asks it through a probe, an audit without torch."""

    @abstractmethod
    def values(self, told: Told | Probe) -> NDArray[np.float64]:
        """Score each item, ``[batch]``.

        Raises:
            NotApplicableError: The sample set lacks what the control needs.
        """

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        import torch

        return torch.from_numpy(self.values(probe))
