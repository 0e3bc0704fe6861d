"""What detectors ask a model, under which key the answer is remembered, and the answer."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from torch import Tensor

from memdet.probing.branch_policy import Branch
from memdet.probing.cost import Cost
from memdet.probing.memo import version_of


@dataclass(frozen=True, eq=False)
class Question:
    """A network evaluation of the whole batch.

    Attributes:
        kind: What is asked, named after the method of a probe.
        x: Where, ``[batch, *latent_shape]``.
        t: Timestep.
        branch: Of the model.
        vectors: Further inputs, each ``[batch, *latent_shape]``.
        backend: By which it is computed, where there are several.
    """

    kind: str
    x: Tensor
    t: int
    branch: Branch
    vectors: tuple[Tensor, ...] = ()
    backend: str = ""

    def __str__(self) -> str:
        return f"{self.kind}({', '.join(['x', str(self.t), repr(self.branch), *'v' * len(self.vectors)])})"

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """All tensors that the answer depends on."""
        return (self.x, *self.vectors)

    @property
    def key(self) -> Hashable:
        """What the answer of a batch is remembered under; an input that was changed in place is another one."""
        return (*self._head, *((id(tensor), version_of(tensor)) for tensor in self.inputs))

    @property
    def key_of_seed(self) -> Hashable:
        """What it is remembered under for the seed: its batches expand other tensors of one storage."""
        return (*self._head, *(tensor.data_ptr() for tensor in self.inputs))

    @property
    def _head(self) -> tuple[Hashable, ...]:
        return (self.kind, self.backend, self.t, self.branch)


@dataclass(frozen=True, eq=False)
class Answer:
    """What came of a question, and at what cost an item; the inputs stay alive, so that their ids stay theirs."""

    value: Tensor
    cost: Cost
    inputs: tuple[Tensor, ...]
