"""Images of items, as tiles of a few sheets."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from memdet.page.training import Training
from memdet.results.conditions import Source
from memdet.results.images import UNDRAWN, Key, key_of

LARGEST_TILE = 64  # pixels a side; larger images are made smaller
SHOWN = 3  # training images of an item, those nearest to its generations
QUALITY = 70
_COLUMNS = 32
Pixels = NDArray[np.uint8]


@dataclass
class _Entry:
    """Images of one item: its own where images are judged, its generations, its training images.

    A generation that could not be computed is None.
    """

    own: list[Pixels] = field(default_factory=list)
    generated: list[Pixels | None] = field(default_factory=list)
    training: list[Pixels] = field(default_factory=list)

    def parts(self) -> Mapping[str, Sequence[Pixels | None]]:
        return {"own": self.own, "generated": self.generated, "training": self.training}


class Pictures:
    """Collects the images of the items of several sample sets; items of one model and condition share theirs."""

    def __init__(self, generations: int) -> None:
        self._generations = generations
        self._entries: dict[tuple[Any, ...], _Entry] = {}
        self._places: list[tuple[int, dict[str, Any], list[tuple[Any, ...] | None]]] = []

    def add(
        self,
        described: dict[str, Any],
        source: Source,
        facts: Sequence[Training | None],
        images: Mapping[Key, bytes],
    ) -> None:
        """Take the images of one sample set.

        Args:
            described: The set of the page; :meth:`encode` puts the place of each item's images in it.
            source: Where the items come from.
            facts: What is known of each item's training images.
            images: Generations that are kept with the run.
        """
        own = {}
        if source.sample_set is not None and source.sample_set.task == "image":
            table = source.sample_set.items
            own = dict(zip(table["item_id"], table["image"], strict=True))
        keys: list[tuple[Any, ...] | None] = []
        for item, fact in zip(described["items"]["id"], facts, strict=True):
            entry = _Entry()
            key: tuple[Any, ...] = (described["id"], item)
            if self._generations and item in own:
                entry.own = [_tile(_pixels(own[item]))]
            elif self._generations and item in source.model:
                names = [key_of(source, item, seed) for seed in range(self._generations)]
                entry.generated = [_generation(images[name]) for name in names if name in images]
                key = names[0]
            if not (entry.own or entry.generated):
                keys.append(None)
                continue
            if key not in self._entries:
                known = [_tile(_decode(png)) for png in fact.images] if fact else []
                entry.training = _nearest(known, entry.own or [one for one in entry.generated if one is not None])
                self._entries[key] = entry
            keys.append(key)
        self._places.append((len(self._places), described, keys))

    def encode(self, limit: int) -> dict[str, Any]:
        """Make the sheets, at most ``limit`` bytes of them; items that come last in :func:`_order` may stay without.

        Returns:
            ``sheets`` (data address, tile width and height, columns), ``entries`` (tiles of each item, as sheet and
            number, null for a generation that could not be drawn) and ``n_items`` with images, of ``n_all``
            that have some.
        """
        chosen = self._order()
        while True:
            sheets, entries, size = _sheets([self._entries[key] for key in chosen])
            if size <= limit or not chosen:
                break
            chosen = chosen[: int(len(chosen) * min(0.97, limit / size))]
        at = {key: index for index, key in enumerate(chosen)}
        for _, described, keys in self._places:
            described["items"]["picture"] = [-1 if key is None else at.get(key, -1) for key in keys]
        return {"sheets": sheets, "entries": entries, "n_items": len(chosen), "n_all": len(self._entries)}

    def _order(self) -> list[tuple[Any, ...]]:
        """Of each set and label the most disputed items first, and those ranked most wrongly."""
        places = []
        for number, described, keys in self._places:
            items = described["items"]
            for label in (0, 1):
                members = [i for i, key in enumerate(keys) if key is not None and items["label"][i] == label]
                disputed = sorted(members, key=lambda i: -items.get("disagreement", [0] * len(keys))[i])
                wrong = sorted(members, key=lambda i: (1 - 2 * label) * -items.get("rank", [0] * len(keys))[i])
                merged = dict.fromkeys(i for pair in zip(disputed, wrong, strict=True) for i in pair)
                places += [(place, number, label, keys[i]) for place, i in enumerate(merged)]
        return list(dict.fromkeys(key for *_, key in sorted(places, key=lambda p: p[:3]) if key is not None))


def _sheets(entries: Sequence[_Entry]) -> tuple[list[dict[str, Any]], list[dict[str, list[list[int] | None]]], int]:
    """Sheets of all tiles, one a shape; tiles of each entry, None for a missing one; bytes of all sheets in base64."""
    tiles: dict[tuple[int, ...], dict[bytes, int]] = {}
    pixels: dict[tuple[int, ...], list[Pixels]] = {}
    placed = []
    for entry in entries:
        parts: dict[str, list[list[int] | None]] = {}
        for name, images in entry.parts().items():
            for image in images:
                if image is None:
                    parts.setdefault(name, []).append(None)
                    continue
                known = tiles.setdefault(image.shape, {})
                content = image.tobytes()
                if content not in known:
                    known[content] = len(known)
                    pixels.setdefault(image.shape, []).append(image)
                number = known[content]
                parts.setdefault(name, []).append([list(tiles).index(image.shape), number])
        placed.append(parts)
    sheets, size = [], 0
    for (height, width, *_), images in pixels.items():
        address = _sheet(images)
        size += len(address)
        sheets.append({"src": address, "width": width, "height": height, "columns": _COLUMNS})
    return sheets, placed, size


def _sheet(images: Sequence[Pixels]) -> str:
    height, width, channels = images[0].shape
    rows = -(-len(images) // _COLUMNS)
    board = np.zeros((rows * height, min(_COLUMNS, len(images)) * width, channels), np.uint8)
    for number, image in enumerate(images):
        top, left = number // _COLUMNS * height, number % _COLUMNS * width
        board[top : top + height, left : left + width] = image
    buffer = io.BytesIO()
    Image.fromarray(board).convert("RGB").save(buffer, format="WEBP", quality=QUALITY, method=6)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def _nearest(known: list[Pixels], to: list[Pixels]) -> list[Pixels]:
    """The training images nearest to any of an item's images."""

    def distance(image: Pixels) -> float:
        return min(
            float(np.square(image.astype(float) - other).mean()) if image.shape == other.shape else np.inf
            for other in to
        )

    if not to:
        return known[:SHOWN]

    return sorted(known, key=distance)[:SHOWN]


def _generation(png: bytes) -> Pixels | None:
    """The tile of a generation; None where it could not be computed."""
    return None if png == UNDRAWN else _tile(_decode(png))


def _decode(png: bytes) -> Pixels:
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"))


def _pixels(image: NDArray[np.float32]) -> Pixels:
    """From ``[channels, height, width]`` in [-1, 1]."""
    pixels = ((image.transpose(1, 2, 0) + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels[:, :, :3]


def _tile(pixels: Pixels) -> Pixels:
    """At most ``LARGEST_TILE`` a side."""
    longest = max(pixels.shape[:2])
    if longest <= LARGEST_TILE:
        return pixels
    height, width = (max(1, round(side * LARGEST_TILE / longest)) for side in pixels.shape[:2])
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))
