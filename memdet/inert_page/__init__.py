"""HTML files that load nothing and run nothing: what the pages of a scan and of an extraction share."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memdet.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

LARGEST_SIDE = 384
_SMALL_SIDE = 64


@dataclass(frozen=True)
class Picture:
    """An image inside a page.

    Attributes:
        address: A data address.
        small: Whether its pixels are to be seen: it is stored without loss, and drawn with sharp edges.
    """

    address: str
    small: bool


def render(rooms: Sequence[str], template: str, filters: Mapping[str, Callable[..., str]], **values: Any) -> str:
    """A page from a template. Text is escaped; the page may load nothing but what is in it, and run nothing.

    Args:
        rooms: Packages with a folder ``templates``, in which the template and what it imports are looked for.
        template: A file, which names ``style`` and ``style_hash``.
        filters: Of the template.
        values: What the template names.
    """
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    style = (files("memdet.inert_page") / "style.css").read_text(encoding="utf-8")
    loader = ChoiceLoader([PackageLoader(room) for room in rooms])
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(filters)
    # the browser hashes what stands between the tags
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return environment.get_template(template).render(style=Markup(style), style_hash=digest, **values)


def upright_image(path: Path) -> PillowImage:
    """An image of a file in colour, turned as its camera was.

    Raises:
        UserError: It cannot be read.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as stored:
            return ImageOps.exif_transpose(stored).convert("RGB")
    except (OSError, ValueError, SyntaxError, TypeError, Image.DecompressionBombError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error).partition("\n")[0]
        raise UserError(
            f"{path} holds no image that can be read ({why}): put a whole copy there, or remove it"
        ) from None


def picture(path: Path, largest: int = LARGEST_SIDE) -> Picture:
    """An image of a file; a small one stays exact, others are brought to ``largest`` pixels a side.

    Raises:
        UserError: It cannot be read.
    """
    return _picture_of(upright_image(path), largest)


def picture_of_png(data: bytes, largest: int = LARGEST_SIDE) -> Picture:
    """An image that is at hand as PNG, likewise."""
    from PIL import Image

    return _picture_of(Image.open(io.BytesIO(data)), largest)


def _picture_of(image: PillowImage, largest: int) -> Picture:
    small = max(image.size) <= _SMALL_SIDE
    image.thumbnail((largest, largest))
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP", lossless=small, quality=85)
    return Picture("data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode(), small)
