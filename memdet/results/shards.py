"""Shards of a run, one a unit of work: written all or nothing, and checked before they count."""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from memdet.errors import OneLine
from memdet.io_utils import replacing
from memdet.results.integrity import digest_of_table
from memdet.results.schema import SCORES
from memdet.results.store import ARROW_ERRORS, write_groups

_NOTES, _DIGEST = b"memdet", b"memdet.sha256"
SCORED = frozenset({"score", "status", "forwards", "jvps", "vjps"})
"""Columns that are computed; the others say what a row is about, which is known before."""


class Notes(BaseModel):
    """What one unit of work says beside its rows.

    Attributes:
        sample_set: Of the unit.
        seconds: Of each detector.
        messages: Of detectors that have something to say.
        halved: Items at once that fitted into memory, where the planned batch did not.
        unit: Its name.
        settings: Checksum of the settings of the run that it belongs to.
        call: Which call of the run wrote it: 0 for the first, 1 for the one that continued it.
        elapsed: Seconds from the start of that call.
    """

    model_config = ConfigDict(extra="forbid")

    sample_set: str
    seconds: dict[str, float] = {}
    messages: dict[str, str] = {}
    halved: int | None = None
    unit: str = ""
    settings: str = ""
    call: int = Field(default=0, ge=0)
    elapsed: float = Field(default=0.0, ge=0)


class DamagedShard(OneLine):
    """A shard that does not count; the message says why."""


def write_shard(file: Path, rows: pa.Table, notes: Notes) -> None:
    """Store the rows of one unit of work, all or nothing, in a directory that is there."""
    text = json.dumps(notes.model_dump(exclude_none=True)).encode()
    described = rows.replace_schema_metadata({_NOTES: text, _DIGEST: _digest(rows, text)})
    with replacing(file, directories=False) as temporary:
        write_groups([described], described.schema, temporary)


def read_shard(
    file: Path, unit: str, settings: str, expected: Callable[[], pa.Table] | None = None
) -> tuple[pa.Table, Notes]:
    """Read a shard that was checked.

    Args:
        file: Of the shard.
        unit, settings: That it must be of.
        expected: Gives what its rows must be about: its columns but for :data:`SCORED`, in their order.

    Raises:
        DamagedShard: It is of another unit or run, or not what memdet wrote.
    """
    try:
        if not stat.S_ISREG(file.lstat().st_mode):
            raise DamagedShard("it is no file of its own")
        with pq.ParquetFile(file) as stored:
            metadata = stored.schema_arrow.metadata or {}
            rows = stored.read(use_threads=False).replace_schema_metadata(None)
            text, digest = metadata.get(_NOTES, b""), metadata.get(_DIGEST, b"")
        rows.validate(full=True)
        notes = Notes.model_validate_json(text)
    except ValidationError:
        raise DamagedShard("it does not say what it is of") from None
    except ARROW_ERRORS as error:
        raise DamagedShard((str(error).splitlines() or [type(error).__name__])[0]) from None
    if rows.schema != SCORES:
        raise DamagedShard("its columns are not those of scores")
    if _digest(rows, text) != digest:
        raise DamagedShard("its SHA-256 is not that of what memdet wrote there")
    if (notes.unit, notes.settings) != (unit, settings):
        raise DamagedShard("it is of another unit" if notes.unit != unit else "it is of a run of other settings")
    if expected is not None:
        about = rows.select([name for name in SCORES.names if name not in SCORED])
        if digest_of_table(about) != digest_of_table(expected()):
            raise DamagedShard("its rows are about something else than its unit")
    return rows, notes


def _digest(rows: pa.Table, notes: bytes) -> bytes:
    return hashlib.sha256(digest_of_table(rows).encode() + notes).hexdigest().encode()
