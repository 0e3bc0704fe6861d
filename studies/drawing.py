"""What all figures share; matplotlib is imported when one is drawn."""

from __future__ import annotations

import importlib.util
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

from memdet.errors import UserError
from memdet.io_utils import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORANGE, BLUE, GREY = "#D55E00", "#0072B2", "#555555"  # told apart by all kinds of colour vision (Okabe and Ito)
DPI = 200
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.labelsize": 9,
    "axes.titlesize": 9,
    "legend.fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "legend.frameon": False,
}


def need_matplotlib() -> None:
    """Refuse before any work where figures cannot be drawn.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        found = importlib.util.find_spec("matplotlib") is not None
    except ValueError:  # a module that was blocked
        found = False
    if not found:
        raise UserError("figures need matplotlib, which is not installed: pip install 'memdet[figures]'")


def figures_directory(out: Path) -> Path:
    """The directory ``figures`` below another one, made if need be.

    Raises:
        UserError: It cannot be made or written to.
    """
    directory = out / "figures"
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"`out` {out} cannot be made a directory: {reason}", parameters=("out",)) from None
    if not os.access(directory, os.W_OK):
        raise UserError(f"`out` {out} cannot be written to: give another directory", parameters=("out",))
    return directory


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure, whole or not at all."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})


def save_small_png(figure: Figure, path: Path, description: str) -> None:
    """Write a large figure of few colours in a palette of 128, with a description in the file, whole or not at all."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, facecolor="white")
    info = PngInfo()
    info.add_text("Description", description)
    image = Image.open(buffer).convert("RGB").quantize(128, dither=Image.Dither.NONE)
    with replacing(path) as temporary:
        image.save(temporary, format="png", optimize=True, pnginfo=info)
