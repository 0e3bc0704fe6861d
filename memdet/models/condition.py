"""Encoded conditions: a batch of named tensors, as a network takes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

NAME = "condition"


@dataclass(frozen=True, eq=False)
class Condition(Mapping[str, Tensor]):
    """What a network is told beside a noisy sample and its time: tensors by name, a row an item.

    A text model of one encoder has one tensor; SDXL has three (``encoder_hidden_states``, ``text_embeds``,
    ``time_ids``). An unconditional network has none, and rows all the same.

    Attributes:
        tensors: By the name of the network's argument, each ``[size, ...]``.
        size: Rows.
        differentiable: Name of the tensor in which a condition may be differentiated; None where there is none, as of
            class numbers.

    Raises:
        ValueError: Tensors of other numbers of rows, or a name that is none of theirs.

    Example:
        >>> one = Condition.of(torch.ones(1, 4))
        >>> one.expand(3)
        Condition(3 rows: condition [4])
        >>> Condition.cat([one.expand(3), one]).rows(slice(2))["condition"].shape
        torch.Size([2, 4])
    """

    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    size: int = 1
    differentiable: str | None = None

    def __post_init__(self) -> None:
        wrong = [name for name, tensor in self.tensors.items() if tensor.ndim == 0 or len(tensor) != self.size]
        if wrong:
            raise ValueError(f"{wrong[0]} has shape {list(self.tensors[wrong[0]].shape)}, not {self.size} rows")
        if self.differentiable is not None and self.differentiable not in self.tensors:
            raise ValueError(f"{self.differentiable!r} is none of {', '.join(self.tensors) or 'no tensors'}")

    @classmethod
    def of(cls, tensor: Tensor, name: str = NAME) -> Condition:
        """One tensor, ``[rows, ...]``; it may be differentiated where it holds real numbers."""
        return cls({name: tensor}, len(tensor), name if tensor.is_floating_point() else None)

    @classmethod
    def nothing(cls, size: int) -> Condition:
        """What an unconditional network is told."""
        return cls({}, size)

    @staticmethod
    def cat(parts: Sequence[Condition]) -> Condition:
        """Rows of several conditions of one kind, one after the other."""
        first = parts[0]
        joined = {name: torch.cat([part.tensors[name] for part in parts]) for name in first.tensors}
        return replace(first, tensors=joined, size=sum(part.size for part in parts))

    @property
    def tensor(self) -> Tensor:
        """The tensor, of a condition that has one.

        Raises:
            ValueError: It has none or several.
        """
        if len(self.tensors) != 1:
            raise ValueError(f"the condition has {len(self.tensors)} tensors, not one: {', '.join(self.tensors)}")
        return next(iter(self.tensors.values()))

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def rows(self, chosen: slice | Tensor) -> Condition:
        """Some rows, by a slice or by a tensor of their numbers."""
        taken = {name: tensor[chosen] for name, tensor in self.tensors.items()}
        size = len(range(self.size)[chosen]) if isinstance(chosen, slice) else len(chosen)
        return replace(self, tensors=taken, size=size)

    def joins(self, other: Condition) -> bool:
        """Whether rows of both make one condition; texts of pipelines that do not pad them have lengths of their own.

        Example:
            >>> Condition.of(torch.ones(1, 4)).joins(Condition.of(torch.ones(2, 4)))
            True
        """
        kinds = [{name: (shape[1:], dtype) for name, shape, dtype in one.shapes()} for one in (self, other)]
        return kinds[0] == kinds[1]

    def expand(self, size: int) -> Condition:
        """One row for so many items, without a copy; as many rows as there are stay as they are."""
        if size == self.size:
            return self
        expanded = {name: tensor.expand(size, *tensor.shape[1:]) for name, tensor in self.tensors.items()}
        return replace(self, tensors=expanded, size=size)

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
        return f"{type(self).__name__}({self.size} row{'s'[: self.size != 1]}: {', '.join(parts) or 'nothing'})"
