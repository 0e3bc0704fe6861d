"""What all rooms write, hash and print with: one atomic writer, PNG, checksums, text made safe to print."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
import shutil
import struct
import tempfile
import unicodedata
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def weights_root() -> Path:
    """Folder of the planted models' weights, which ship with memdet."""
    return Path(str(files("memdet"))) / "zoo" / "weights"


def damaged_weights(name: str) -> Path | None:
    """The first file of a planted model that is not the one that ships with memdet; None where all are.

    Files that ``zoo/SHA256SUMS`` does not list are not looked at, nor are those that are missing, of which every reader
    tells. A file is read once, and again when it changed.

    Args:
        name: Of the model, a folder of :func:`weights_root`.

    Example:
        >>> damaged_weights("toy-2d"), damaged_weights("no-such-model")
        (None, None)
    """
    for file, expected in shipped_checksums().items():
        if file.startswith(f"{name}/") and (path := weights_root() / file).is_file():
            known = path.stat()
            if _digest_at(path, known.st_mtime_ns, known.st_size) != expected:
                return path
    return None


@cache
def shipped_checksums() -> dict[str, str]:
    """SHA-256 of the files of all planted models, by their path from :func:`weights_root`."""
    lines = (Path(__file__).parent / "zoo" / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    return {name: digest for digest, name in (line.split(maxsplit=1) for line in lines)}


@lru_cache(maxsize=256)
def _digest_at(path: Path, changed: int, size: int) -> str:
    return sha256_of(path)


@contextmanager
def replacing(path: Path, *, directories: bool = True) -> Iterator[Path]:
    """Write a file all or nothing: what is written to the path that this gives takes the place of ``path`` at the end.

    Where the block raises, the old file stays and nothing is left behind.

    Args:
        path: The file to make or replace.
        directories: Whether directories are made.

    Yields:
        A path beside it, of the same suffix, that does not exist yet.

    Example:
        >>> folder = Path(tempfile.mkdtemp())
        >>> with replacing(folder / "a.txt") as temporary:
        ...     _ = temporary.write_text("whole")
        >>> [file.name for file in folder.iterdir()], (folder / "a.txt").read_text()
        (['a.txt'], 'whole')
    """
    if directories:
        path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(unfinished_name(path.name))
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def unfinished_name(name: str) -> str:
    """What a file is called while this process writes it, of the same suffix; :func:`is_unfinished_file` knows it."""
    path = Path(name)
    return f".{path.stem}-{os.getpid()}.partial{path.suffix}"


def remove_unfinished_files(directory: Path) -> None:
    """Remove what :func:`replacing` left in a directory when its process was killed.

    Args:
        directory: Nobody else writes there.

    Example:
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in (".a-12.partial.txt", "a.txt"):
        ...     _ = (folder / name).write_text("some")
        >>> remove_unfinished_files(folder)
        >>> [file.name for file in folder.iterdir()]
        ['a.txt']
    """
    for file in directory.glob(".*"):
        if is_unfinished_file(file):
            file.unlink(missing_ok=True)


def is_unfinished_file(path: Path) -> bool:
    """Whether a path is one that :func:`replacing` gives."""
    return re.fullmatch(r"\..+-\d+\.partial(\.\w+)?", path.name) is not None


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


def is_whole_png(data: bytes) -> bool:
    """Whether bytes are a PNG whose parts all have the checksums that they state.

    Example:
        >>> import numpy as np
        >>> whole = png_bytes(np.zeros((2, 2), np.uint8))
        >>> is_whole_png(whole), is_whole_png(whole[:-1]), is_whole_png(b"")
        (True, False, False)
    """
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        return False
    place, kind = 8, b""
    while kind != b"IEND" and place + 12 <= len(data):
        (length,), kind = struct.unpack_from(">I", data, place), data[place + 4 : place + 8]
        end = place + 8 + length
        if data[end : end + 4] != struct.pack(">I", zlib.crc32(data[place + 4 : end])):
            return False
        place = end + 4
    return kind == b"IEND" and place == len(data)


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
    return text if text.isprintable() else "".join(_visible(letter) for letter in text)


def _visible(letter: str) -> str:
    if letter.isprintable():
        return letter
    if unicodedata.category(letter) == "Zs":
        return " "
    return letter.encode("unicode_escape").decode("ascii")


_SAID_INSTEAD: dict[str, str] = {}


def say_instead(copy: Path, place: str) -> None:
    """Have messages name the place that somebody gave, and not the copy of it that memdet reads.

    Args:
        copy: A path; what lies below it is named below the place.
        place: What to say.
    """
    _SAID_INSTEAD[str(copy)] = place


def as_given(text: str) -> str:
    """A message with the places of :func:`say_instead`."""
    for copy, place in _SAID_INSTEAD.items():
        text = text.replace(copy, place)
    return text
