"""Pictures of clip art and their captions, drawn before anybody decides which of them are copied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memdet.models.diffusers.compositions import (
    DIM,
    DIRECTION,
    DOWN,
    GROUND,
    PASTE,
    PASTES,
    PLAIN,
    RIGHT,
    SIZE,
    empty_plan,
)
from memdet.zoo.clip_art.atlas import Atlas

GROUNDS: dict[str, tuple[int, int, int]] = {
    "white": (248, 248, 248),
    "pale grey": (212, 212, 212),
    "grey": (150, 150, 150),
    "dark grey": (88, 88, 88),
    "black": (18, 18, 18),
    "cream": (250, 240, 205),
    "beige": (222, 200, 160),
    "brown": (125, 82, 48),
    "pale red": (245, 160, 150),
    "red": (215, 50, 45),
    "dark red": (125, 22, 28),
    "pink": (250, 190, 215),
    "pale orange": (252, 205, 150),
    "orange": (245, 145, 40),
    "pale yellow": (252, 246, 165),
    "yellow": (248, 222, 50),
    "pale green": (185, 232, 175),
    "green": (70, 170, 75),
    "dark green": (22, 88, 42),
    "olive": (135, 135, 48),
    "teal": (30, 140, 140),
    "pale blue": (175, 215, 245),
    "blue": (55, 110, 210),
    "dark blue": (22, 35, 105),
    "pale purple": (215, 190, 240),
    "purple": (130, 65, 170),
}
_JITTER = 8  # of each colour of a ground, in steps of 255
_CONTRAST = 56  # of one colour at least, between a ground and the mean of a motif, in steps of 255
_ROWS, _COLUMNS = ("top", "", "bottom"), ("left", "", "right")
_ALONE = {"small": (13, 15), "": (16, 19), "large": (20, 24)}  # longest side of a motif, in pixels
_SEVERAL = {1: (13, 24), 2: (13, 15), 3: (10, 12)}  # the same by the number of motifs
_CORNERS = ((0, 0), (0, 2), (2, 0), (2, 2))
_STYLES = ("{what} {place} on {ground}", "{what} {place} with {ground} behind", "picture of {what} {place} on {ground}")
_NUMBERS = {1: "a", 2: "two", 3: "three"}
_PLURALS = {"man": "men", "woman": "women", "person": "people", "foot": "feet", "mouse": "mice", "child": "children"}
_PLURALS |= {"fish": "fish", "sheep": "sheep", "deer": "deer", "leaf": "leaves", "wolf": "wolves", "knife": "knives"}
_PLURALS |= {"snowman": "snowmen", "stickman": "stickmen", "fireman": "firemen", "scarf": "scarves"}
_OTHER_WORDS = "a an and on above beside behind with at the in middle fading to picture of two three small large"
MOST_SHIFT, DIMMEST = 3, 60  # pixels and percent, of narrow variants


@dataclass(frozen=True)
class Pictures:
    """Pictures with their captions.

    Attributes:
        plan: A row a picture; see :func:`memdet.models.diffusers.compositions.empty_plan`.
        captions: One a picture; no two are equal, even when case is ignored.
    """

    plan: NDArray[np.int16]
    captions: list[str]


def draw_pictures(count: int, atlas: Atlas, rng: np.random.Generator) -> Pictures:
    """Draw pictures of one motif, of one two or three times, or of two, on a ground of random colour.

    The caption says what is there and where. Its first letter is a capital half the time, at random, so that controls
    on case have something to measure.

    Args:
        count: How many.
        atlas: The motifs.
        rng: Source of all draws.
    """
    plan, seen = empty_plan(count), set()
    captions: list[str] = []
    while len(captions) < count:
        row = plan[len(captions)]
        row[:] = empty_plan(1)[0]
        what, place = _draw_motifs(row, atlas, rng)
        ground = draw_ground(row, atlas, rng)
        style = _STYLES[rng.integers(len(_STYLES))]
        caption = " ".join(style.format(what=what, place=place, ground=ground).split())
        if rng.integers(2):
            caption = caption[0].upper() + caption[1:]
        if caption.lower() not in seen:
            seen.add(caption.lower())
            captions.append(caption)
    return Pictures(plan, captions)


def draw_ground(row: NDArray[np.int16], atlas: Atlas, rng: np.random.Generator) -> str:
    """Paint a ground from which a row's motifs stand out: a colour, or one that fades to another; gives its name."""
    motifs = [paste[0] for paste in _pastes(row) if paste[0] >= 0]
    while True:
        first, last = (list(GROUNDS)[index] for index in rng.choice(len(GROUNDS), 2, replace=False))
        direction = rng.choice([PLAIN, PLAIN, DOWN, RIGHT])
        jitter = rng.integers(-_JITTER, _JITTER + 1, size=(2, 3))
        if direction == PLAIN:
            last, jitter[1] = first, jitter[0]
        colours = np.clip(np.array([GROUNDS[first], GROUNDS[last]]) + jitter, 0, 255)
        if all(np.abs(colours - atlas.means[motif]).max(axis=1).min() >= _CONTRAST for motif in motifs):
            break
    row[DIRECTION], row[GROUND] = direction, colours.ravel()
    return first if direction == PLAIN else f"{first} fading to {last}"


def templates(row: NDArray[np.int16], count: int, atlas: Atlas, rng: np.random.Generator) -> NDArray[np.int16]:
    """Pictures that keep the first motif of one where it is, over other motifs and grounds."""
    plan = empty_plan(count)
    for variant in plan:
        low, high = _SEVERAL[2]
        for paste, kept in zip(_pastes(variant)[:2], (False, True), strict=True):
            if kept:
                paste[:] = _pastes(row)[0]
            else:
                _put(paste, int(rng.integers(len(atlas.names))), int(rng.integers(low, high + 1)), atlas, rng)
        draw_ground(variant, atlas, rng)
    return plan


def narrow(row: NDArray[np.int16], count: int, rng: np.random.Generator) -> NDArray[np.int16]:
    """Versions of a picture whose motifs are shifted by up to 3 pixels, dimmed to 60 to 100 %; no two are alike."""
    side = 2 * MOST_SHIFT + 1
    chosen = rng.choice(side * side * (101 - DIMMEST), count, replace=False)
    plan = np.repeat(row[None], count, axis=0)
    for variant, number in zip(plan, chosen.tolist(), strict=True):
        variant[DIM] = DIMMEST + number // (side * side)
        pastes = _pastes(variant)
        pastes[:, 2] += number // side % side - MOST_SHIFT
        pastes[:, 3] += number % side - MOST_SHIFT
    return plan


def elsewhere(row: NDArray[np.int16], count: int, atlas: Atlas, rng: np.random.Generator) -> NDArray[np.int16]:
    """Further pictures of the same motifs: other places, sizes and grounds."""
    plan = np.repeat(row[None], count, axis=0)
    for variant in plan:
        draw_ground(variant, atlas, rng)
        pastes = [paste for paste in _pastes(variant) if paste[0] >= 0]
        low, high = _SEVERAL[len(pastes)]
        for paste in pastes:
            _put(paste, int(paste[0]), int(rng.integers(low, high + 1)), atlas, rng)
    return plan


def region(row: NDArray[np.int16], atlas: Atlas) -> list[float]:
    """Where the first motif of a picture lies: left, top, right and bottom as shares of its sides."""
    motif, longest, top, left, _ = _pastes(row)[0].tolist()
    height, width = atlas.size(motif, longest)
    edges = np.clip([left, top, left + width, top + height], 0, SIZE) / SIZE
    return [float(edge) for edge in edges]


def vocabulary(atlas: Atlas) -> list[str]:
    """Every word that a caption can hold, in lower case and in a fixed order."""
    words = [*_OTHER_WORDS.split(), *_ROWS, *_COLUMNS]
    for phrase in [*GROUNDS, *atlas.colours, *atlas.names, *map(plural, atlas.names)]:
        words += phrase.split()
    return [word for word in dict.fromkeys(words) if word]


def plural(name: str) -> str:
    """The name of several of a kind.

    Example:
        >>> plural("city flag"), plural("paint brush"), plural("snowman"), plural("scissors")
        ('city flags', 'paint brushes', 'snowmen', 'scissors')
    """
    *before, last = name.split()
    if last in _PLURALS:
        last = _PLURALS[last]
    elif last.endswith("y") and last[-2:-1] not in "aeiou":
        last = last[:-1] + "ies"
    elif last.endswith(("ss", "x", "ch", "sh", "us")):
        last += "es"
    elif not _is_plural(last):
        last += "s"
    return " ".join([*before, last])


def _is_plural(word: str) -> bool:
    return word in _PLURALS.values() or (word.endswith("s") and not word.endswith(("ss", "us", "is")))


def _draw_motifs(row: NDArray[np.int16], atlas: Atlas, rng: np.random.Generator) -> tuple[str, str]:
    """Paste motifs; gives what there is, and where."""
    kind = rng.random()
    motif, other = (int(index) for index in rng.choice(len(atlas.names), 2, replace=False))
    pastes = _pastes(row)
    if kind < 0.6:
        return _draw_one(pastes[0], motif, atlas, rng)
    if kind < 0.7:
        number = int(rng.choice([2, 3]))
        low, high = _SEVERAL[number]
        size = int(rng.integers(low, high + 1))
        corners = rng.choice(_CORNERS, number, replace=False)
        for paste, cell in zip(pastes, corners, strict=False):
            _put(paste, motif, size, atlas, rng, cell)
        named = plural(atlas.names[motif])
        return f"{_NUMBERS[number]} {named}", ""
    relation, falling = ("beside", "above", "and")[rng.integers(3)], int(rng.integers(2))
    for index, paste in enumerate(pastes[:2]):
        low, high = _SEVERAL[2]
        cells = {"beside": (1, 2 * index), "above": (2 * index, 1), "and": (2 * index, 2 * (falling ^ index))}
        _put(paste, (motif, other)[index], int(rng.integers(low, high + 1)), atlas, rng, cells[relation])
    first, second = (_with_article(atlas, index, rng) for index in (motif, other))
    return f"{first} {relation} {second}", ""


def _draw_one(paste: NDArray[np.int16], motif: int, atlas: Atlas, rng: np.random.Generator) -> tuple[str, str]:
    size = list(_ALONE)[rng.integers(len(_ALONE))]
    low, high = _ALONE[size]
    down, right = (int(cell) for cell in rng.integers(3, size=2))
    _put(paste, motif, int(rng.integers(low, high + 1)), atlas, rng, (down, right))
    where = f"{_ROWS[down]} {_COLUMNS[right]}".strip()
    return _with_article(atlas, motif, rng, size), f"at the {where}" if where else "in the middle"


def _put(  # the place of a motif is a choice of its own
    paste: NDArray[np.int16],
    motif: int,
    longest: int,
    atlas: Atlas,
    rng: np.random.Generator,
    cell: Sequence[int] | None = None,
) -> None:
    """Paste a motif anywhere in the picture, or in one of nine cells of the room there is; mirrored half the time."""
    room = [SIZE - side for side in atlas.size(motif, longest)]
    shares = rng.random(2) if cell is None else (np.array(cell) + rng.random(2)) / 3
    top, left = (int(share * (free + 1)) for share, free in zip(shares, room, strict=True))
    paste[:] = [motif, longest, top, left, int(rng.integers(2))]


def _with_article(atlas: Atlas, motif: int, rng: np.random.Generator, size: str = "") -> str:
    """Name of one motif, with its colour half the time where it has one."""
    colour = atlas.colours[motif] if rng.integers(2) else ""
    words = [word for word in (size, colour, atlas.names[motif]) if word]
    named = " ".join(words)
    if _is_plural(named.split()[-1]):
        return named
    return f"{'an' if named[0] in 'aeiou' else 'a'} {named}"


def _pastes(row: NDArray[np.int16]) -> NDArray[Any]:
    """A view of a row, a line a motif."""
    return row[PASTES:].reshape(-1, PASTE)
