"""What several commands read from their options."""

from __future__ import annotations

from typing import Literal

from memdet.errors import UserError


def batch_size_of(text: str) -> int | None:
    """Items at once; None for ``auto``.

    Raises:
        UserError: Neither a positive number nor ``auto``.
    """
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"--batch-size {text!r} is neither a positive number nor auto")
    return int(text)


def batch_size_or_measure(text: str) -> int | Literal["measure"] | None:
    """Items at once; None for ``auto``.

    Raises:
        UserError: Neither a positive number nor one of the words.
    """
    if text == "measure":
        return "measure"
    try:
        return batch_size_of(text)
    except UserError:
        raise UserError(f"--batch-size {text!r} is neither a positive number nor auto or measure") from None


def device_of(name: str) -> str:
    """A device that works here; ``auto`` takes CUDA where it is.

    Raises:
        UserError: It does not work.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {name!r} does not work here: {str(error).splitlines()[0]}") from None
    return name
