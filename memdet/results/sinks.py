"""Where a run goes while it is computed: a directory that a later call continues, or memory."""

from __future__ import annotations

import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout
from pydantic import BaseModel

from memdet.errors import UserError
from memdet.io_utils import file_above, printable
from memdet.results.differences import described_differences
from memdet.results.manifest import FILE, Manifest
from memdet.results.run import Run
from memdet.results.schema import ITEMS, SCORES
from memdet.results.store import ITEM_FILE, SCORE_FILE, write_table, write_tables

_NOTES = b"memdet"


class Notes(BaseModel):
    """What one unit of work says beside its rows.

    Attributes:
        sample_set: Of the unit.
        seconds: Of each detector.
        messages: Of detectors that have something to say.
        halved: Items at once that fitted into memory, where the planned batch did not.
    """

    sample_set: str
    seconds: dict[str, float] = {}
    messages: dict[str, str] = {}
    halved: int | None = None


class Totals:
    """Sums of the notes of shards.

    Attributes:
        seconds: By sample set and detector.
        messages: Each distinct one once, by sample set and detector.
        halved: The smallest batch that fitted, by sample set.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, dict[str, float]] = {}
        self.messages: dict[str, dict[str, list[str]]] = {}
        self.halved: dict[str, int] = {}

    def add(self, notes: Notes) -> None:
        """Take the notes of one shard in."""
        for detector, value in notes.seconds.items():
            of_set = self.seconds.setdefault(notes.sample_set, {})
            of_set[detector] = of_set.get(detector, 0.0) + value
        for detector, message in notes.messages.items():
            known = self.messages.setdefault(notes.sample_set, {}).setdefault(detector, [])
            if message not in known:
                known.append(message)
        if notes.halved is not None:
            known_size = self.halved.get(notes.sample_set, notes.halved)
            self.halved[notes.sample_set] = min(known_size, notes.halved)

    def added_to(self, manifest: Manifest) -> Manifest:
        """The manifest of a finished run; what it says of the models stays."""
        names = dict.fromkeys([*self.messages, *manifest.messages])
        messages = {name: manifest.messages.get(name, {}) | self.messages.get(name, {}) for name in names}
        found = {"seconds": self.seconds, "messages": messages, "halved": self.halved, "finished": True}
        return manifest.model_copy(update=found)


class Sink(ABC):
    """Takes the shards of a run, one a unit of work, and makes the run of them."""

    @abstractmethod
    @contextmanager
    def open(self, manifest: Manifest) -> Iterator[bool]:
        """Start the run, or take it up where it stopped.

        Args:
            manifest: Its settings must be equal to those of a run that is continued.

        Yields:
            Whether the run is finished already.

        Raises:
            UserError: A run of other settings or other files are there, or another process writes there.
        """

    @abstractmethod
    def has(self, unit: str) -> bool:
        """Whether the shard of a unit is complete."""

    @abstractmethod
    def write_shard(self, unit: str, rows: pa.Table, notes: Notes) -> None:
        """Keep the rows of one unit of work, all or nothing."""

    @abstractmethod
    def finish(self, units: Iterable[str], manifest: Manifest, items: Iterable[pa.Table]) -> Run:
        """Join the shards in the order of ``units``; add their notes to the manifest; keep what the items were."""


class RunDirectory(Sink):
    """Writes and resumes one run in a directory.

    Every file is written under a temporary name and renamed, so what exists is complete. A shard holds the rows of one
    unit of work, and its notes in the file's metadata.

    Args:
        path: Of the directory, made if missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._shards = path / "shards"

    @contextmanager
    def open(self, manifest: Manifest) -> Iterator[bool]:
        """Start the run, or take it up where it stopped; see :meth:`Sink.open`."""
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path} is a file, not a directory: choose another place for the run")
        if (above := file_above(self.path)) is not None:
            raise UserError(f"{self.path}: {above} is a file, and nothing can lie below it: choose another place")
        stored = Manifest.read(self.path) if (self.path / FILE).exists() else None
        if stored is None and self.path.is_dir() and any(p.name != ".lock" for p in self.path.iterdir()):
            raise UserError(f"{self.path} holds other files and no run: choose a new directory")
        if stored is not None and (changed := described_differences(stored.settings, manifest.settings)):
            way = "choose a new directory for other detectors, sets or options"
            way += f", or repeat its command: {stored.command}" if stored.command else ""
            raise UserError(printable(f"{self.path} holds a run of other settings ({'; '.join(changed)}): {way}"))
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / ".lock")
        try:
            with lock.acquire(timeout=0):
                if stored is None:
                    manifest.write(self.path)
                self._shards.mkdir(exist_ok=True)
                yield stored is not None and stored.finished and (self.path / SCORE_FILE).exists()
        except Timeout:
            raise UserError(f"{self.path} is in use by another process") from None
        finally:
            if (self.path / SCORE_FILE).exists():
                (self.path / ".lock").unlink(missing_ok=True)

    def has(self, unit: str) -> bool:
        """Whether the shard of a unit is complete."""
        return self._file(unit).exists()

    def write_shard(self, unit: str, rows: pa.Table, notes: Notes) -> None:
        """Store the rows of one unit of work, all or nothing."""
        metadata = {_NOTES: json.dumps(notes.model_dump(exclude_none=True))}
        write_table(rows.replace_schema_metadata(metadata), self._file(unit))

    def finish(self, units: Iterable[str], manifest: Manifest, items: Iterable[pa.Table]) -> Run:
        """Join the shards; only ``ROWS_AT_ONCE`` rows are held, and the largest shard's."""
        totals = Totals()

        def rows() -> Iterator[pa.Table]:
            for unit in units:
                with pq.ParquetFile(self._file(unit)) as shard:
                    totals.add(Notes.model_validate_json(shard.schema_arrow.metadata[_NOTES]))
                    for group in range(shard.num_row_groups):
                        yield shard.read_row_group(group, use_threads=False).replace_schema_metadata(None)

        write_tables(items, ITEMS, self.path / ITEM_FILE)
        write_tables(rows(), SCORES, self.path / SCORE_FILE)
        totals.added_to(manifest).write(self.path)
        shutil.rmtree(self._shards)
        return Run.load(self.path, checked=False)  # its rows were made here

    def _file(self, unit: str) -> Path:
        return self._shards / f"{unit}.parquet"


class RunInMemory(Sink):
    """Keeps one run in memory; nothing is written, and nothing can be continued.

    Args:
        name: Of the run, in its tables.
    """

    def __init__(self, name: str = "run") -> None:
        self._name = name
        self._kept: dict[str, tuple[pa.Table, Notes]] = {}

    @contextmanager
    def open(self, manifest: Manifest) -> Iterator[bool]:
        """Start the run."""
        yield False

    def has(self, unit: str) -> bool:
        """Whether the shard of a unit is there."""
        return unit in self._kept

    def write_shard(self, unit: str, rows: pa.Table, notes: Notes) -> None:
        """Keep the rows of one unit of work."""
        self._kept[unit] = (rows, notes)

    def finish(self, units: Iterable[str], manifest: Manifest, items: Iterable[pa.Table]) -> Run:
        """Join the shards."""
        totals, rows = Totals(), []
        for unit in units:
            table, notes = self._kept[unit]
            rows.append(table)
            totals.add(notes)
        return Run.from_tables(
            totals.added_to(manifest),
            pa.concat_tables(rows) if rows else SCORES.empty_table(),
            items=pa.concat_tables([ITEMS.empty_table(), *items]),
            name=self._name,
        )
