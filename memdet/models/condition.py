"""Encoded conditions: a batch of named tensors, as a network takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

NAME = "condition"


@dataclass(frozen=True, eq=False)
class Condition:
    """What a network is told beside a noisy sample and its time, a row an item.

    A text model of one encoder has one tensor; SDXL has three (``encoder_hidden_states``, ``text_embeds``,
    ``time_ids``). An unconditional network has none, and rows all the same.

    Attributes:
        tensors: By the name of the network's argument, each ``[rows, ...]``.
        rows: Items.
        differentiable: Name of the tensor in which a condition may be differentiated; None where there is none, as of
            class numbers.

    Raises:
        ValueError: Tensors of other numbers of rows, or a name that is none of theirs.

    Example:
        >>> one = Condition.of(torch.ones(1, 4))
        >>> one.expand(3)
        Condition(3 rows: condition [4])
        >>> len(Condition.cat([one.expand(3), one])[:2])
        2
    """

    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    rows: int = 1
    differentiable: str | None = None

    def __post_init__(self) -> None:
        wrong = [name for name, tensor in self.tensors.items() if tensor.ndim == 0 or len(tensor) != self.rows]
        if wrong:
            raise ValueError(f"{wrong[0]} has shape {list(self.tensors[wrong[0]].shape)}, not {self.rows} rows")
        if self.differentiable is not None and self.differentiable not in self.tensors:
            raise ValueError(f"{self.differentiable!r} is none of {', '.join(self.tensors) or 'no tensors'}")

    @classmethod
    def of(cls, tensor: Tensor, name: str = NAME) -> Condition:
        """One tensor, ``[rows, ...]``; it may be differentiated where it holds real numbers."""
        return cls({name: tensor}, len(tensor), name if tensor.is_floating_point() else None)

    @classmethod
    def nothing(cls, rows: int) -> Condition:
        """What an unconditional network is told."""
        return cls({}, rows)

    @staticmethod
    def cat(parts: Sequence[Condition]) -> Condition:
        """Rows of several conditions of one kind, one after the other."""
        first = parts[0]
        joined = {name: torch.cat([part.tensors[name] for part in parts]) for name in first.tensors}
        return replace(first, tensors=joined, rows=sum(part.rows for part in parts))

    @property
    def tensor(self) -> Tensor:
        """The tensor, of a condition that has one.

        Raises:
            ValueError: It has none or several.
        """
        if len(self.tensors) != 1:
            raise ValueError(f"the condition has {len(self.tensors)} tensors, not one: {', '.join(self.tensors)}")
        return next(iter(self.tensors.values()))

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, rows: slice | Tensor) -> Condition:
        """Some rows, by a slice or by a tensor of their numbers."""
        taken = {name: tensor[rows] for name, tensor in self.tensors.items()}
        count = len(range(self.rows)[rows]) if isinstance(rows, slice) else len(rows)
        return replace(self, tensors=taken, rows=count)

    def joins(self, other: Condition) -> bool:
        """Whether rows of both make one condition; texts of pipelines that do not pad them have lengths of their own.

        Example:
            >>> Condition.of(torch.ones(1, 4)).joins(Condition.of(torch.ones(2, 4)))
            True
        """
        kinds = [{name: (shape[1:], dtype) for name, shape, dtype in one.shapes()} for one in (self, other)]
        return kinds[0] == kinds[1]

    def expand(self, rows: int) -> Condition:
        """One row for so many items, without a copy; as many rows as there are stay as they are."""
        if rows == self.rows:
            return self
        expanded = {name: tensor.expand(rows, *tensor.shape[1:]) for name, tensor in self.tensors.items()}
        return replace(self, tensors=expanded, rows=rows)

    def to(self, device: torch.device, dtype: torch.dtype) -> Condition:
        """On a device; what holds real numbers in a dtype."""
        moved = {
            name: tensor.to(device, dtype if tensor.is_floating_point() else tensor.dtype)
            for name, tensor in self.tensors.items()
        }
        return replace(self, tensors=moved)

    def shapes(self) -> tuple[tuple[str, torch.Size, torch.dtype], ...]:
        """Name, shape and dtype of each tensor: what a network is built for."""
        return tuple((name, tensor.shape, tensor.dtype) for name, tensor in self.tensors.items())

    def __repr__(self) -> str:
        parts = [f"{name} {list(tensor.shape[1:])}" for name, tensor in self.tensors.items()]
        return f"{type(self).__name__}({self.rows} row{'s'[: self.rows != 1]}: {', '.join(parts) or 'nothing'})"
