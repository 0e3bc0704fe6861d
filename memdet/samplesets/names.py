"""Names of sample sets and of their models, as a caller gives them."""

from __future__ import annotations

import os
from typing import Any

from memdet.errors import UserError

LONGEST = 200  # bytes of UTF-8: a run names its files after the set, and file systems take 255
_FORBIDDEN = frozenset('/\\:*?"<>|')
_RULE = f'write a name for files: up to {LONGEST} bytes, none of / \\ : * ? " < > |, no stop or space at its ends'


def check_id(name: Any) -> None:
    """Refuse what cannot name a sample set, whose name becomes that of files in run directories.

    Raises:
        UserError: No text, empty, too long, or with characters that lead elsewhere or cannot be seen.

    Example:
        >>> check_id("my prompts (2)")
    """
    if not isinstance(name, str):
        raise UserError(f"the id of a sample set is text, not {type(name).__name__}; {_RULE}")
    if _mended(name) != name or not name:
        raise UserError(f"sample set id {name[:40]!r} cannot name a set; {_RULE}")


def id_of_file(stem: str) -> str:
    """The id of a sample set that is named after a file: the name itself wherever it can be one.

    Example:
        >>> [id_of_file(name) for name in ("my prompts (2)", ".hidden", "a:b", "...")]
        ['my prompts (2)', 'hidden', 'a-b', 'samples']
    """
    return _mended(stem) or "samples"


def model_name(model: Any, *, optional: bool = False) -> str | None:
    """What a caller gives as the model of a sample set, as text; a path may be one.

    Args:
        model: As given.
        optional: Whether None is none at all.

    Raises:
        UserError: A loaded model, something that is no text, or nothing.
    """
    if model is None and optional:
        return None
    if hasattr(model, "latent_shape"):
        raise UserError(
            f"`model` is a loaded {type(model).__name__}, a sample set holds a name; give it to evaluate(model=...)"
        )
    if not isinstance(model, str | os.PathLike) or not str(model).strip():
        what = repr(model) if isinstance(model, str) else type(model).__name__
        raise UserError(f"`model` is {what}; write what memdet.load_model takes: a name, a directory or a hub id")
    return str(model)


def advice(given: Any) -> str:
    """What to do with something that was given where the name or file of a sample set is wanted."""
    if type(given).__name__ == "DataFrame":
        return "SampleSet.from_pandas(frame) makes a sample set of a data frame"
    if hasattr(given, "content_hash"):
        return "it is a sample set already, use it as it is"
    return "write an id from `memdet list sets` or the path of a file"


def _mended(name: str) -> str:
    """The name, with a hyphen for each character that no file may have, without stops and spaces around it, and cut."""
    kept = "".join(letter if letter.isprintable() and letter not in _FORBIDDEN else "-" for letter in name)
    cut = kept.strip(". ").encode(errors="replace")[:LONGEST]
    return cut.decode(errors="ignore").strip(". ")
