"""What all rooms write, hash and print with: one atomic writer, PNG, checksums, text made safe to print."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import shutil
import tempfile
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def weights_root() -> Path:
    """Folder of the planted models' weights, which ship with memdet."""
    return Path(str(files("memdet"))) / "zoo" / "weights"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file all or nothing: what is written to the path that this gives takes the place of ``path`` at the end.

    Where the block raises, the old file stays and nothing is left behind. Directories are made.

    Args:
        path: The file to make or replace.

    Yields:
        A path beside it, of the same suffix, that does not exist yet.

    Example:
        >>> folder = Path(tempfile.mkdtemp())
        >>> with replacing(folder / "a.txt") as temporary:
        ...     _ = temporary.write_text("whole")
        >>> [file.name for file in folder.iterdir()], (folder / "a.txt").read_text()
        (['a.txt'], 'whole')
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}-{os.getpid()}.partial{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace a file by a text in UTF-8, all or nothing; directories are made."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_bytes(path: Path, data: bytes) -> None:
    """Replace a file, all or nothing; directories are made."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_directory(directory: Path, contents: Mapping[str, bytes]) -> None:
    """Make a directory with all files in it, or nothing.

    Args:
        directory: Does not exist yet; the directories above it are made.
        contents: By file name.

    Raises:
        OSError: It exists, or cannot be written.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        for name, data in contents.items():
            (temporary / name).write_bytes(data)
        temporary.chmod(0o755)
        temporary.rename(directory)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def png_bytes(pixels: NDArray[np.uint8]) -> bytes:
    """An image as PNG.

    Args:
        pixels: ``[height, width]`` in grey, or ``[height, width, 3]``; uint8.
    """
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def pixels_of_png(data: bytes) -> NDArray[np.uint8]:
    """The pixels of a PNG, as :func:`png_bytes` takes them."""
    import numpy as np
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def file_above(path: Path) -> Path | None:
    """The file below which a path lies, where nothing can be made; None where all above it are directories or missing.

    Example:
        >>> file_above(Path(__file__) / "run") == Path(__file__), file_above(Path("runs/new"))
        (True, None)
    """
    above = next((folder for folder in path.parents if folder.exists()), None)
    return None if above is None or above.is_dir() else above


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_text(value: Any, indent: int | None = 2) -> str:
    """JSON that every reader takes: a number that is not finite, which JSON cannot say, is null.

    Example:
        >>> json_text({"auroc": float("nan"), "n": 3, "errors": [0.5, float("inf")]}, indent=None)
        '{"auroc": null, "n": 3, "errors": [0.5, null]}'
    """
    return json.dumps(_sayable(value), indent=indent, allow_nan=False)


def _sayable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _sayable(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_sayable(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def printable(text: str) -> str:
    r"""Text in which nothing can steer a terminal or turn the reading direction; such characters become escapes.

    Prompts, file names and column names come from others; a control character among them could move the cursor, colour
    the terminal or reverse the line. Spaces of any width become plain ones.

    Example:
        >>> printable("a\x1b[2Jb")
        'a\\x1b[2Jb'
    """
    return "".join(_visible(letter) for letter in text)


def _visible(letter: str) -> str:
    if letter.isprintable():
        return letter
    if unicodedata.category(letter) == "Zs":
        return " "
    return letter.encode("unicode_escape").decode("ascii")
