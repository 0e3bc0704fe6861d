"""Checksums of what a run keeps: of a table's content, of a manifest's, of files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from memdet.errors import UserError
from memdet.io_utils import sha256_of

CHECKSUM = "checksum"
"""Field of ``run.json`` that holds :func:`digest_of_content` of all others."""
MEND = "put a whole copy there, or make the run again"
OTHER_CONTENT = "it is not what memdet wrote there, its SHA-256 is another one"


def digest_of_table(table: pa.Table) -> str:
    """SHA-256 of the content of a table: names, types and values of its columns, in hexadecimal digits.

    Metadata, and how the rows are cut into pieces, make no difference. NaN equals NaN, and is not a missing value.

    Args:
        table: Of text, bytes, whole numbers and float64.

    Example:
        >>> one = pa.table({"a": ["x", "y"]})
        >>> digest_of_table(one) == digest_of_table(pa.concat_tables([one[:1], one[1:]]))
        True
        >>> digest_of_table(one) == digest_of_table(pa.table({"a": ["xy", ""]}))
        False
    """
    digest = hashlib.sha256()
    for field, column in zip(table.schema, table.columns, strict=True):
        digest.update(f"{field.name!r} {field.type} {len(column)}\n".encode())
        digest.update(np.packbits(column.is_null().to_numpy().astype(bool)).tobytes())
        if pa.types.is_string(field.type) or pa.types.is_binary(field.type):
            digest.update(pc.binary_length(column).fill_null(0).to_numpy().astype("<i8").tobytes())
            for chunk in column.cast(pa.binary()).fill_null(b"").chunks:
                digest.update(_bytes_of(chunk))
        elif pa.types.is_floating(field.type):
            values = column.fill_null(0.0).to_numpy().astype("<f8")
            digest.update(np.where(np.isnan(values), np.nan, values).tobytes())
        else:
            digest.update(column.fill_null(0).to_numpy().astype("<i8").tobytes())
    return digest.hexdigest()


def _bytes_of(texts: pa.Array) -> memoryview:
    """All bytes of an array of bytes without missing values, one text after the other."""
    _, offsets, data = texts.buffers()
    if data is None or not len(texts):
        return memoryview(b"")
    first = np.frombuffer(offsets, np.int32, 1, 4 * texts.offset)[0]
    last = np.frombuffer(offsets, np.int32, 1, 4 * (texts.offset + len(texts)))[0]
    return memoryview(data)[first:last]


def digest_of_content(content: Mapping[str, Any]) -> str:
    """SHA-256 of what a JSON object says, but for its field ``checksum``, in hexadecimal digits.

    The order of fields and the white space between them make no difference.

    Example:
        >>> digest_of_content({"a": 1, "b": 2}) == digest_of_content({"b": 2, "a": 1, "checksum": "0"})
        True
    """
    rest = {name: value for name, value in content.items() if name != CHECKSUM}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode("ascii")).hexdigest()


def require_whole(file: Path, expected: str | None) -> None:
    """Refuse a file that is not the one whose checksum is known.

    Args:
        file: That is to be read.
        expected: SHA-256 in hexadecimal digits; None where an older memdet kept none, and nothing is checked.

    Raises:
        UserError: It is another one, or cannot be read.
    """
    if expected is None:
        return
    try:
        found = sha256_of(file)
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror or error}): {MEND}") from None
    if found != expected:
        raise UserError(
            f"{file} is damaged: its SHA-256 is not the one that its run.json states: put a whole copy there, or "
            "delete the directory and make the run again"
        )
