"""What detectors ask a model, under which key the answer is remembered, and the answer."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from memdet.curvature import BACKENDS, Backend
from memdet.models import ScoreModel
from memdet.probing.branch_policy import BRANCHES, Branch
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

    @classmethod
    def to(
        cls,
        model: ScoreModel,
        kind: str,
        x: Tensor,
        t: int,
        branch: Branch,
        vectors: tuple[Tensor, ...] = (),
        backend: Backend | None = None,
    ) -> Question:
        """A question that this model can be asked; whatever is asked is checked here, before it is computed.

        Raises:
            ValueError: Unknown branch or backend, or no timestep of the model's schedule.
        """
        model.schedule.check(t)
        check_name(branch, BRANCHES, "branch")
        if backend is not None:
            check_name(backend, BACKENDS, "backend")
        return cls(kind, x, t, branch, vectors, backend or "")

    def __str__(self) -> str:
        kind = "eps" if self.kind == "output" else self.kind  # what detectors ask for
        return f"{kind}({', '.join(['x', str(self.t), repr(self.branch), *'v' * len(self.vectors)])})"

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


def check_name(given: Any, known: Sequence[str], what: str) -> None:
    """Refuse a name that is none of those known.

    Args:
        given: The name, if it is one.
        known: All names.
        what: They are names of.

    Raises:
        ValueError: It is none of them.
    """
    if given not in known:
        raise ValueError(f"unknown {what} {given!r}; known: {', '.join(known)}")
