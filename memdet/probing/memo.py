"""What is computed once and handed out to many, and how a change of it is noticed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class ChangedInPlaceError(ValueError):
    """A detector changed a tensor in place that others share. What was damaged is forgotten, and computed anew.

    Args:
        changed: What was changed, as a detector asks the probe for it; names of one memory in one entry.
    """

    def __init__(self, changed: Sequence[str]) -> None:
        self.changed = tuple(changed)
        super().__init__(
            f"changed in place: {'; '.join(changed)}. What a probe gives is shared with other detectors: clone it first"
            " (tensor.clone()) and change the clone"
        )

    def __reduce__(self) -> tuple[type[ChangedInPlaceError], tuple[tuple[str, ...]]]:
        return type(self), (self.changed,)


@dataclass(frozen=True)
class Changed:
    """A tensor that was changed in place.

    Attributes:
        memory: Of its storage; views of one tensor have the same.
        what: What it is.
    """

    memory: int
    what: str


@dataclass(frozen=True, eq=False)
class _Watched:
    """A tensor, the number of its changes when it was handed out, and what it is."""

    tensor: Tensor
    version: int
    what: str


class Memo:
    """Values by key. Their tensors are watched: views and expansions count changes together with their base.

    Changes through ``tensor.data``, NumPy or the storage are counted by nobody.
    """

    def __init__(self) -> None:
        self._values: dict[Hashable, Any] = {}
        self._watched: dict[Hashable, list[_Watched]] = {}

    def __contains__(self, key: Hashable) -> bool:
        return key in self._values

    def get(self, key: Hashable) -> Any:
        """What is kept under a key, or None."""
        return self._values.get(key)

    def put(self, key: Hashable, value: Any, what: str, handed_out: Any = None) -> None:
        """Keep a value.

        Args:
            key: Under which it is found again.
            value: What is kept.
            what: How errors name it.
            handed_out: The part of it that detectors see, whose tensors are watched; all if None.
        """
        self._values[key] = value
        self._watched.pop(key, None)
        self.watch(key, value if handed_out is None else handed_out, what)

    def remember(self, key: Hashable, what: str, make: Callable[[], T]) -> T:
        """The value of a key, made when it is first asked for, outside of a caller's inference mode."""
        if key not in self._values:
            with counting_changes():
                made = make()
            self.put(key, made, what)
        found: T = self._values[key]
        return found

    def watch(self, key: Hashable, value: Any, what: str) -> None:
        """Watch the tensors in a value that somebody else keeps, until the key is dropped."""
        watched = [_Watched(tensor, version_of(tensor), what) for tensor in _tensors_of(value)]
        self._watched.setdefault(key, []).extend(watched)

    def check_finite(self, whose: str) -> None:
        """Refuse tensors that are not finite, from which nothing can be fitted.

        Args:
            whose: The tensors are, for the message.

        Raises:
            ValueError: One is not finite.
        """
        for watched in (one for of_key in self._watched.values() for one in of_key):
            if watched.tensor.is_floating_point() and not bool(watched.tensor.isfinite().all()):
                raise ValueError(f"{watched.what} of {whose} is not finite, and no constants can be taken from it")

    def drop(self, key: Hashable) -> None:
        """Let go of one value, if it is there."""
        self._values.pop(key, None)
        self._watched.pop(key, None)

    def clear(self) -> None:
        """Let go of everything."""
        self._values.clear()
        self._watched.clear()

    def changed(self) -> list[Changed]:
        """What was changed in place since it was kept."""
        return [
            Changed(watched.tensor.untyped_storage().data_ptr(), watched.what)
            for of_key in self._watched.values()
            for watched in of_key
            if version_of(watched.tensor) != watched.version
        ]


def names_of(changed: Iterable[Changed]) -> list[str]:
    """Names of what was changed, those of one memory together, for nobody can tell which of them it was."""
    names: dict[int, dict[str, None]] = {}
    for found in changed:
        names.setdefault(found.memory, {})[found.what] = None
    return list(dict.fromkeys(" or ".join(of_one) for of_one in names.values()))


def version_of(tensor: Tensor) -> int:
    """How often a tensor, or what it is a view of, was changed in place; -1 if made in inference mode: not counted."""
    return -1 if tensor.is_inference() else tensor._version


@contextmanager
def counting_changes() -> Iterator[None]:
    """Outside of a caller's inference mode, in which tensors do not count their changes, and nothing is derived."""
    if not torch.is_inference_mode_enabled():
        yield
        return
    with torch.inference_mode(False), torch.no_grad():
        yield


def _tensors_of(value: Any) -> Iterator[Tensor]:
    """Tensors in a value, and in the sequences, mappings and dataclasses of which it consists."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _tensors_of(part)
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from _tensors_of(getattr(value, field.name))
