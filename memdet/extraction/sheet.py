"""A contact sheet: generations beside their nearest training images, as one PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from memdet.extraction.compare import Match
from memdet.extraction.result import PromptResult
from memdet.extraction.text import copied_of, name_of
from memdet.inert_page import upright_image

PROMPTS, PAIRS = 24, 4
_SIDE, _GAP, _TEXT = 96, 6, 14
_NAME, _PROMPT = 28, 70
_COPY, _OTHER, _PAPER, _INK = (196, 64, 0), (150, 156, 164), (255, 255, 255), (27, 31, 36)


def contact_sheet(prompts: Sequence[PromptResult], generations: Path, training: Path) -> bytes | None:
    """The first prompts, a row each: up to four pairs of a generation and its nearest training image.

    The pairs nearest to a training image come first; a copy has a frame.

    Args:
        prompts: In their order.
        generations: Directory from which files of generations start.
        training: Folder of the training images.

    Returns:
        A PNG; None where no generation could be drawn.
    """
    rows = [(row, _nearest_first(row.copies.matches)) for row in prompts[:PROMPTS]]
    rows = [(row, matches) for row, matches in rows if matches]
    if not rows:
        return None
    across = max(len(matches) for _, matches in rows)
    pair, height = 2 * _SIDE + 3 * _GAP, _SIDE + 2 * _TEXT + 3 * _GAP
    board = Image.new("RGB", (max(460, across * (pair + _GAP) + _GAP), len(rows) * height + _GAP), _PAPER)
    draw, font = ImageDraw.Draw(board), ImageFont.load_default()
    for index, (row, matches) in enumerate(rows):
        top = _GAP + index * height
        draw.text((_GAP, top), _latin(f"{copied_of(row)} copied: {name_of(row.prompt[:_PROMPT], _PROMPT)}"), _INK, font)
        for place, match in enumerate(matches):
            left, upper = _GAP + place * (pair + _GAP), top + _TEXT + 2
            if match.file is None or match.nearest is None:
                continue
            frame = (left, upper, left + pair - 1, upper + _SIDE + 2 * _GAP - 1)
            draw.rectangle(frame, outline=_COPY if match.copied else _OTHER, width=3 if match.copied else 1)
            board.paste(_tile(generations / match.file), (left + _GAP, upper + _GAP))
            board.paste(_tile(training / match.nearest), (left + 2 * _GAP + _SIDE, upper + _GAP))
            draw.text((left + 2, upper + _SIDE + 2 * _GAP), _latin(name_of(match.nearest, _NAME)), _INK, font)
    buffer = io.BytesIO()
    board.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _nearest_first(matches: Sequence[Match]) -> list[Match]:
    drawn = [match for match in matches if match.ratio is not None]
    return sorted(drawn, key=lambda match: match.ratio or 0.0)[:PAIRS]


def _tile(path: Path) -> Image.Image:
    """An image as a square of the sheet; the pixels of a small one stay sharp."""
    image = upright_image(path)
    method = Image.Resampling.NEAREST if max(image.size) <= _SIDE else Image.Resampling.LANCZOS
    return ImageOps.pad(image, (_SIDE, _SIDE), method=method, color=_PAPER)


def _latin(text: str) -> str:
    """Text in the letters of Pillow's own font."""
    return text.replace("…", "...").encode("latin-1", "replace").decode("latin-1")
