"""How large what a run looked at is: the first thing that a reader of its numbers must know."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memdet.io_utils import weights_root
from memdet.models.closed_form.catalogue import CLOSED_FORM
from memdet.results.images import Key

SMALL = 100_000_000  # parameters of a network below which the sentence warns
_DENOISERS = ("unet", "transformer")
_LONGEST_HEADER = 100_000_000  # bytes, as safetensors itself allows


@dataclass(frozen=True)
class ModelScale:
    """Size of a model, as far as its files say.

    Attributes:
        side: Pixels of a side of its pictures; None where it makes none.
        parameters: Of its denoising network.
    """

    side: int | None
    parameters: int | None


def scale_of(model: str) -> ModelScale | None:
    """Size of a model from the files of its directory, without loading it.

    Args:
        model: As a run names it: a model that ships with memdet, or a directory.

    Returns:
        None where there are no such files, as of a closed form or a model on the hub.

    Example:
        >>> scale_of("tiny-sd-a").side, scale_of("mixture-2d")
        (32, None)
    """
    directory = weights_root() / model
    if not directory.is_dir():
        directory = Path(model).expanduser()
    folder = next((directory / name for name in _DENOISERS if (directory / name).is_dir()), None)
    if folder is None:
        return None
    side = _config(folder).get("sample_size")
    blocks = _config(directory / "vae").get("block_out_channels") or [0]
    pixels = side * 2 ** (len(blocks) - 1) if isinstance(side, int) else None
    return ModelScale(pixels, _parameters(folder))


def scale_sentence(models: Iterable[str], images: Mapping[Key, bytes] | None = None) -> str:
    """What a page says first: how large the pictures and networks are, and what that means.

    Args:
        models: Of all items, by name.
        images: Generations that are kept with a run; their sizes go before what the models' files say.

    Returns:
        Empty where nothing is known.

    Example:
        >>> scale_sentence(["mixture-2d"])
        'mixture-2d is a closed form without pictures.'
    """
    names = sorted(set(models))
    found = {name: size for name in names if (size := scale_of(name)) is not None}
    sides = {size.side for size in found.values() if size.side}
    widths = (_width(png) for key, png in (images or {}).items() if key[0] in names)
    shown = {width for width in widths if width is not None}
    sentences = []
    if sizes := sorted(shown or sides):
        sentences.append(f"The pictures are {_listed([f'{side} x {side}' for side in sizes])} pixels.")
    parameters = sorted({size.parameters for size in found.values() if size.parameters})
    if parameters:
        span = " to ".join(dict.fromkeys(_millions(count) for count in (parameters[0], parameters[-1])))
        sentences.append(f"The networks have {span} million parameters; that of Stable Diffusion 1.4 has 860 million.")
    if parameters and parameters[-1] < SMALL:
        sentences.append("What holds for such small models need not hold for large ones.")
    closed = [name for name in names if name in CLOSED_FORM]
    if closed:
        are = "is a closed form" if len(closed) == 1 else "are closed forms"
        sentences.append(f"{_listed(closed)} {are} without pictures.")
    return " ".join(sentences)


def _config(folder: Path) -> dict[str, Any]:
    """``config.json`` of a folder; empty where it is missing or damaged: a sentence less is said."""
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _parameters(folder: Path) -> int | None:
    """Numbers in the weights of a folder, from the headers of its files."""
    files = [file for file in folder.glob("*.safetensors") if not any(w in file.name for w in (".fp16", "non_ema"))]
    total = 0
    for file in files:
        try:
            with file.open("rb") as stream:
                (length,) = struct.unpack("<Q", stream.read(8))
                header = json.loads(stream.read(min(length, _LONGEST_HEADER)))
            total += sum(math.prod(part["shape"]) for name, part in header.items() if name != "__metadata__")
        except (OSError, ValueError, struct.error, KeyError, TypeError, AttributeError):
            return None  # no weights that memdet can read
    return total or None


def _width(png: bytes) -> int | None:
    """Pixels of a side, from the header of a PNG."""
    return struct.unpack(">I", png[16:20])[0] if png[:8] == b"\x89PNG\r\n\x1a\n" and len(png) > 20 else None


def _millions(count: int) -> str:
    return f"{count / 1e6:.2g}" if count < 10_000_000 else f"{count / 1e6:,.0f}"


def _listed(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
