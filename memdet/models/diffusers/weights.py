"""Which of the weight files in a component's folder are read: the plain ones, else those of a variant."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from memdet.errors import UserError

_STEMS = "diffusion_pytorch_model|model"  # diffusers' and transformers' own names
_WHOLE = re.compile(rf"(?:{_STEMS})(?:\.(?P<variant>[^.]+))?\.safetensors")
_INDEX = re.compile(rf"(?:{_STEMS})\.safetensors\.index(?:\.(?P<variant>[^.]+))?\.json")
_OLD_INDEX = re.compile(rf"(?:{_STEMS})\.safetensors\.(?P<variant>[^.]+)\.index\.json")
_SHARD = re.compile(r"-\d{5}-of-\d{5}")
_PREFERRED = ("fp32", "bf16", "fp16")
PICKLES = (".bin", ".ckpt", ".pt", ".pth")


@dataclass(frozen=True)
class Weights:
    """The files that a network is read from.

    Attributes:
        files: Their names in the folder; shards follow their index.
        variant: As the library's ``variant``; None of the plain files.
        others: Further variants that are there and not read.
    """

    files: tuple[str, ...]
    variant: str | None
    others: tuple[str, ...] = ()


def find_weights(names: Collection[str], read: Callable[[str], dict[str, Any]]) -> Weights | None:
    """Choose among the files of a folder.

    Plain files come first. Else a variant is taken: that of the highest precision where names say one, else the first.

    Args:
        names: Of the files in the folder.
        read: Gives the content of an index of shards.

    Returns:
        The choice; None where there are no weights as safetensors under the name that the library gives them.

    Raises:
        UserError: An index of shards names something else than files beside it.

    Example:
        >>> find_weights(["config.json", "model.fp16.safetensors", "model.ema.safetensors"], read=lambda name: {})
        Weights(files=('model.fp16.safetensors',), variant='fp16', others=('ema',))
    """
    heads: dict[str | None, str] = {}
    for pattern in (
        _WHOLE,
        _OLD_INDEX,
        _INDEX,
    ):  # an index comes after, and takes the place of a single file, as in diffusers
        for name in sorted(names):
            match = pattern.fullmatch(name)
            if match and not _SHARD.search(name):
                heads[match["variant"]] = name
    if not heads:
        return None
    variant = min(heads, key=_rank)
    head, others = heads[variant], tuple(sorted(other for other in heads if other not in (None, variant)))
    if not head.endswith(".json"):
        return Weights((head,), variant, others)
    shards = read(head).get("weight_map")
    listed = list(shards.values()) if isinstance(shards, dict) else []
    for name in listed:
        if not isinstance(name, str) or not name or re.search(r"[\\/\0]", name):
            raise UserError(f"{head}: weight_map names {str(name)[:80]!r}, which is no file beside it; fetch it again")
    return Weights((head, *sorted(set(listed))), variant, others)


def is_pickle(name: str) -> bool:
    """Whether a file holds weights in a form that can run code when it is loaded."""
    return name.endswith(PICKLES)


def _rank(variant: str | None) -> tuple[int, str]:
    if variant is None:
        return 0, ""
    return (1 + _PREFERRED.index(variant) if variant in _PREFERRED else 9), variant
