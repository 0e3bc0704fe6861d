"""Files that somebody gives: regular ones of bounded size, read without waiting for anybody. Imports no torch."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO

from memdet.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

NO_LIMITS = "MEMDET_NO_LIMITS"
"""Environment variable that lifts the limits where it is not empty; processes that memdet starts have it too."""

LARGEST_SPEC = 1024**2
"""Bytes of a YAML file."""

LARGEST_JSON = 64 * 1024**2
"""Bytes of a JSON file, which takes some twenty times as many once it is read."""

LARGEST_TABLE = 512 * 1024**2
"""Bytes of a file of prompts, samples or items, and bytes of text that its columns may come to."""

LARGEST_IMAGES = 4 * 1024**3
"""Bytes of the pixels of all images of a file."""

MOST_ROWS = 5_000_000
"""Rows of such a file."""

_KINDS = (
    (stat.S_ISDIR, "a directory; name a file in it"),
    (stat.S_ISFIFO, "a pipe, which may never end; write what comes out of it to a file"),
    (stat.S_ISCHR, "a device, not a file; name a file"),
    (stat.S_ISBLK, "a device, not a file; name a file"),
    (stat.S_ISSOCK, "a socket, not a file; name a file"),
)


def read_given(path: Path, largest: int = LARGEST_TABLE) -> bytes:
    """Content of a regular file.

    Args:
        path: The file, or a link to it.
        largest: Bytes that it may have.

    Raises:
        UserError: It is missing, no regular file, larger, or cannot be read.

    Example:
        >>> read_given(Path("/dev/zero"))
        Traceback (most recent call last):
        memdet.errors.UserError: /dev/zero is a device, not a file; name a file
    """
    try:
        file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # of a pipe too this comes back at once
        with os.fdopen(file, "rb") as stream:
            _require_regular(path, os.fstat(file), largest)
            return stream.read()
    except OSError as error:
        raise _unreadable(path, error) from None
    except ValueError:  # a zero byte, say
        raise UserError(f"{str(path)!r} can be no path; check it") from None


def require_given(path: Path, largest: int | None = None) -> None:
    """Refuse what is no regular file, for a library that opens it by its path.

    Args:
        path: The file, or a link to it.
        largest: Bytes that it may have; any number if None.

    Raises:
        UserError: As for :func:`read_given`.
    """
    try:
        _require_regular(path, path.stat(), largest)
    except OSError as error:
        raise _unreadable(path, error) from None
    except ValueError:
        raise UserError(f"{str(path)!r} can be no path; check it") from None


def read_json_value(path: Path) -> Any:
    """Content of a JSON file of a model or a run.

    Raises:
        UserError: As for :func:`read_given`, or it is no JSON.
    """
    data = read_given(path, LARGEST_JSON)
    try:
        return json.loads(data.decode("utf-8"))
    except RecursionError:
        raise UserError(f"{path} is not valid JSON: lists or objects within each other without end") from None
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON: {error}") from None


def read_json(path: Path) -> dict[str, Any]:
    """Content of a file that holds one JSON object.

    Raises:
        UserError: As for :func:`read_json_value`, or it holds something else.
    """
    content = read_json_value(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a JSON object")
    return content


def require_given_folder(directory: Path) -> None:
    """Refuse a folder in which, or one level below, something is neither a folder nor a regular file.

    For libraries that open the files of a folder by themselves. JSON and text may have :data:`LARGEST_JSON` bytes,
    other files any number. Links that lead nowhere are left to whoever looks for them.

    Args:
        directory: Exists.

    Raises:
        UserError: Names the file.
    """
    for path in (*directory.glob("*"), *directory.glob("*/*")):
        if path.exists() and not path.is_dir():
            require_given(path, LARGEST_JSON if path.suffix in (".json", ".txt") else None)


def read_at_most(stream: IO[bytes], path: Path, largest: int = LARGEST_TABLE) -> bytes:
    """What a stream gives, which may be more than the file that it comes from.

    Args:
        stream: Of a compressed file, say.
        path: The file, for errors.
        largest: Bytes that it may give.

    Raises:
        UserError: It gives more.
    """
    data = stream.read(-1 if lifted() else largest + 1)
    require_bytes(path, len(data), largest)
    return data


def require_bytes(path: Path, unpacked: int, largest: int = LARGEST_TABLE) -> None:
    """Refuse a file that unpacks to more than it may.

    Args:
        path: The file, for errors.
        unpacked: Bytes that it comes to, or comes to so far.
        largest: Bytes that it may come to.
    """
    if unpacked > largest and not lifted():
        raise UserError(f"{path} unpacks to more than {largest:,} bytes, and memdet reads no more{_LIFT}")


def require_rows(path: Path | str, rows: int) -> None:
    """Refuse a table of more than :data:`MOST_ROWS` rows.

    Args:
        path: The file, for the error.
        rows: That it has, or says to have.
    """
    if rows > MOST_ROWS and not lifted():
        raise UserError(f"{path} has {rows:,} rows, and memdet reads no more than {MOST_ROWS:,}{_LIFT}")


def open_parquet(source: Path | BinaryIO) -> pq.ParquetFile:
    """Open a Parquet file so that a text that many of its rows share stays one.

    Args:
        source: The file, or what holds its content.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pq.read_schema(source)
    texts = [field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_binary(field.type)]
    return pq.ParquetFile(source, read_dictionary=texts)


def read_columns(path: Path, file: pq.ParquetFile, columns: Iterable[str]) -> dict[str, list[Any]]:
    """Columns of a Parquet file, once their rows and their text are known not to be too many.

    A few bytes can stand for any number of rows, and a text that many rows share is stored once. Rows are therefore
    counted before any is read, and texts are added up before any is made.

    Args:
        path: For errors.
        file: Of :func:`open_parquet`.
        columns: Which.

    Raises:
        UserError: They are too many.
        ValueError: One holds a value that Python has none for; other mistakes are Arrow's own.
    """
    require_rows(path, file.metadata.num_rows)
    values: dict[str, list[Any]] = {name: [] for name in columns}
    nested = any(file.schema_arrow.field(name).type.num_fields for name in values)  # whose texts are no longer shared
    total = 0
    for batch in file.iter_batches(100 if nested else 10_000, columns=list(values), use_threads=False):
        total += bytes_of(batch)
        require_bytes(path, total)
        for name, column in values.items():
            try:
                column += batch[name].to_pylist()
            except ArithmeticError as error:  # a time or a number that Python has no value for
                raise ValueError(f"column {name}: {error}") from None
    return values


def bytes_of(batch: pa.RecordBatch) -> int:
    """Bytes that the rows of a batch take once each has its own texts."""
    return sum(map(_bytes_of, batch.columns))


def lifted() -> bool:
    """Whether limits are lifted; what is no regular file is refused even then."""
    return bool(os.environ.get(NO_LIMITS))


_LIFT = f"; if you trust it, set {NO_LIMITS}=1"


def _require_regular(path: Path, found: os.stat_result, largest: int | None) -> None:
    for is_kind, words in _KINDS:
        if is_kind(found.st_mode):
            raise UserError(f"{path} is {words}")
    if largest is not None and found.st_size > largest and not lifted():
        raise UserError(f"{path} has {found.st_size:,} bytes, and memdet reads no more than {largest:,}{_LIFT}")


def _unreadable(path: Path, error: OSError) -> UserError:
    if isinstance(error, IsADirectoryError):
        return UserError(f"{path} is {_KINDS[0][1]}")
    if isinstance(error, FileNotFoundError):
        return UserError(f"{path} does not exist; check the path")
    return UserError(f"{path} cannot be read ({error.strerror}); check its permissions")


def _bytes_of(values: pa.Array) -> int:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_dictionary(values.type):
        return int(values.nbytes)
    lengths = pc.binary_length(values.dictionary.cast(pa.binary())).take(values.indices)
    return int(pc.sum(lengths).as_py() or 0)
