"""Where a run goes while it is computed: a directory that a later call continues, or memory."""

from __future__ import annotations

import os
import shutil
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import pyarrow as pa

from memdet.errors import UserError
from memdet.io_utils import file_above, is_unfinished_file, printable, remove_unfinished_files, sha256_of
from memdet.results.differences import described_differences, other_packages
from memdet.results.integrity import digest_of_content
from memdet.results.lease import Lease
from memdet.results.lock import LOCK_FILE, DirectoryLock
from memdet.results.manifest import FILE, CallEntry, Manifest
from memdet.results.remote import SHARDS, Mirror, Store, forget_at_exit, place_of, stage_of
from memdet.results.run import Run
from memdet.results.schema import ITEMS, SCORES
from memdet.results.shards import DamagedShard, Notes, read_shard, write_shard
from memdet.results.store import ITEM_FILE, SCORE_FILE, write_tables
from memdet.results.totals import Totals

DAMAGED = "damaged"
"""Folder of a run: of what was found among its shards and does not count."""


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
    def has(self, unit: str, expected: Callable[[], pa.Table]) -> bool:
        """Whether the shard of a unit is there and is what it must be.

        Args:
            unit: Its name.
            expected: Gives what its rows must be about, as for :func:`~memdet.results.shards.read_shard`.
        """

    @abstractmethod
    def write_shard(self, unit: str, rows: pa.Table, notes: Notes) -> None:
        """Keep the rows of one unit of work, all or nothing."""

    @abstractmethod
    def finish(self, units: Iterable[str], manifest: Manifest, items: Iterable[pa.Table]) -> Run:
        """Join the shards in the order of ``units``; add their notes to the manifest; keep what the items were."""


@dataclass(frozen=True)
class Share:
    """What another process needs to write shards of a run that its caller holds open.

    Attributes:
        path: Run directory.
        settings: Checksum of the run's settings.
        call: Which call of the run it is, from 0.
        start: Of the call, on the system's monotonic clock.
        mirror: Where the run is copied to; None where its directory is on this machine.
    """

    path: Path
    settings: str = ""
    call: int = 0
    start: float = 0.0
    mirror: Mirror | None = None


class RunDirectory(Sink):
    """Writes and resumes one run in a directory.

    Every file is written under a temporary name and renamed, so what exists is complete. A shard holds the rows of one
    unit of work, and its notes in the file's metadata; it is checked before it counts. One that does not hold is put
    into the folder ``damaged``, named on standard error and computed again.

    Args:
        path: Of the directory, made if missing.
        mirror: Where every file is copied to as it is finished; None where the directory itself is the place.
    """

    def __init__(self, path: Path, mirror: Mirror | None = None) -> None:
        self.share = Share(path, start=time.monotonic(), mirror=mirror)
        self._shards, self._lock = path / SHARDS, DirectoryLock(path)
        self._lease = None if mirror is None else Lease(mirror.store)
        self._calls: list[CallEntry] = []
        self._started = ""

    @classmethod
    def joined(cls, share: Share) -> RunDirectory:
        """The directory of a run that the caller of this process holds open.

        Raises:
            UserError: It is gone.
        """
        directory = cls(share.path, share.mirror)
        directory.share = share
        directory._lock.watch()
        return directory

    @property
    def path(self) -> Path:
        """Of the directory."""
        return self.share.path

    @property
    def place(self) -> str:
        """What messages call it: its path, or the address that it is copied to."""
        return str(self.path) if self.share.mirror is None else self.share.mirror.store.address

    @contextmanager
    def open(self, manifest: Manifest) -> Iterator[bool]:
        """Start the run, or take it up where it stopped; see :meth:`Sink.open`."""
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path} is a file, not a directory: choose another place for the run")
        if (above := file_above(self.path)) is not None:
            raise UserError(f"{self.path}: {above} is a file, and nothing can lie below it: choose another place")
        self._refuse_other_files()
        with self._writing():
            self.path.mkdir(parents=True, exist_ok=True)
            with self._named():
                self._lock.acquire()
        try:
            with self._leased():
                yield self._take_up(manifest)
        finally:
            self._lock.release()

    @contextmanager
    def _leased(self) -> Iterator[None]:
        """Inside, the place of the copy is this process's, and its manifest is here; nothing where there is no copy."""
        if self._lease is None or (mirror := self.share.mirror) is None:
            yield
            return
        self._lease.acquire()
        try:
            mirror.begin()
            yield
        finally:
            self._lease.release()

    def _refuse_other_files(self) -> None:
        if (self.path / FILE).exists() or not self.path.is_dir():
            return
        if any(one.name != LOCK_FILE and not is_unfinished_file(one) for one in self.path.iterdir()):
            raise UserError(f"{self.path} holds other files and no run: choose a new directory")

    def _take_up(self, manifest: Manifest) -> bool:
        """Whether the run is finished already, once the directory is locked."""
        stored, mirror = self._manifest(), self.share.mirror
        if stored is not None and (changed := described_differences(stored.settings, manifest.settings)):
            way = "choose a new directory for other detectors, sets or options"
            way += f", or repeat its command: {stored.command}" if stored.command else ""
            raise UserError(f"{self.place} holds a run of other settings ({'; '.join(changed)}): {way}")
        if mirror is not None:
            mirror.fetch()
        if stored is not None and stored.finished and (self.path / SCORE_FILE).exists():
            shutil.rmtree(self._shards, ignore_errors=True)
            if mirror is not None:
                mirror.settle()
                forget_at_exit(self.path)
            return True
        with self._writing():
            for folder in (self.path, self._shards):
                remove_unfinished_files(folder)
            done = stored is not None and self._shards.is_dir() and any(self._shards.iterdir())
        if stored is not None and done and (changed := other_packages(stored.packages, manifest.packages)):
            raise UserError(
                f"{self.place} was begun with other packages ({'; '.join(changed)}), and scores of both would mix: "
                "install those again and repeat the command, or choose a new directory"
            )
        # A run that lost its scores starts again: nothing of what its first calls computed is left.
        self._calls = list(stored.calls) if stored is not None and done else []
        self._started = stored.started if stored is not None and done else manifest.started
        here = {name: getattr(manifest, name) for name in CallEntry.model_fields if name != "seconds"}
        self._calls.append(CallEntry(**here | {"started": manifest.started}))
        with self._writing():
            settings = manifest.settings if stored is None else stored.settings
            begun = {"settings": settings, "started": self._started, "calls": self._calls}
            manifest.model_copy(update=begun).write(self.path)
            self._shards.mkdir(exist_ok=True)
        digest = digest_of_content(settings.model_dump(mode="json"))
        self.share = replace(self.share, settings=digest, call=len(self._calls) - 1)
        if mirror is not None:
            mirror.settle()
        return False

    def _manifest(self) -> Manifest | None:
        """The manifest that is there, if one is."""
        if not (self.path / FILE).exists():
            return None
        with self._named():
            return Manifest.read(self.path)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Messages name the place that was given, and not the copy on this machine."""
        try:
            yield
        except UserError as error:
            raise UserError(self._said(str(error))) from None

    def _said(self, text: str) -> str:
        return text.replace(str(self.path), self.place)

    def has(self, unit: str, expected: Callable[[], pa.Table]) -> bool:
        """Whether the shard of a unit counts; one that does not is put aside. See :meth:`Sink.has`."""
        if not os.path.lexists(self._file(unit)):
            return False
        try:
            read_shard(self._file(unit), unit, self.share.settings, expected)
        except DamagedShard as why:
            place = self._put_aside(unit)
            text = f"memdet: {self._file(unit)} does not count ({why}): it is now {place}, and is computed again"
            print(printable(self._said(text)), file=sys.stderr)
            return False
        return True

    def write_shard(self, unit: str, rows: pa.Table, notes: Notes) -> None:
        """Store the rows of one unit of work, all or nothing.

        Raises:
            UserError: The directory was deleted or moved, or the disk takes nothing.
        """
        own = {"unit": unit, "settings": self.share.settings, "call": self.share.call}
        with self._writing():
            elapsed = round(time.monotonic() - self.share.start, 3)
            write_shard(self._file(unit), rows, notes.model_copy(update=own | {"elapsed": max(0.0, elapsed)}))
        self._send(self._file(unit))

    def _send(self, *paths: Path) -> None:
        """Copy files to where the run shall be."""
        if self._lease is None or (mirror := self.share.mirror) is None:
            return
        self._lease.require()
        for path in paths:
            mirror.send(path)

    def finish(self, units: Iterable[str], manifest: Manifest, items: Iterable[pa.Table]) -> Run:
        """Join the shards; only ``ROWS_AT_ONCE`` rows are held, and the largest shard's."""
        totals = Totals()

        def rows() -> Iterator[pa.Table]:
            for unit in units:
                try:
                    of_unit, notes = read_shard(self._file(unit), unit, self.share.settings)
                except DamagedShard as why:
                    raise UserError(
                        f"{self._file(unit)} was damaged since it was written ({why}): it is now "
                        f"{self._put_aside(unit)}, the same command computes it again"
                    ) from None
                totals.add(notes)
                yield of_unit

        with self._writing():
            write_tables(items, ITEMS, self.path / ITEM_FILE)
            write_tables(rows(), SCORES, self.path / SCORE_FILE)
            files = {name: sha256_of(self.path / name) for name in (SCORE_FILE, ITEM_FILE)}
            whole = totals.added_to(manifest).model_copy(update={"files": files})
            self._with_calls(whole, totals).write(self.path)
        self._send(*(self.path / name for name in (ITEM_FILE, SCORE_FILE, FILE)))
        shutil.rmtree(self._shards, ignore_errors=True)
        if self.share.mirror is not None:
            self.share.mirror.settle()
            forget_at_exit(self.path)
        return Run.load(self.path, checked=False)  # its rows were made here

    def _with_calls(self, manifest: Manifest, totals: Totals) -> Manifest:
        """The manifest with the time of earlier calls, where there were some."""
        if len(self._calls) < 2:
            return manifest
        of_calls = [round(totals.elapsed.get(number, 0.0), 1) for number in range(len(self._calls))]
        of_calls[-1] = manifest.seconds_total or of_calls[-1]
        calls = [
            one.model_copy(update={"seconds": seconds}) for one, seconds in zip(self._calls, of_calls, strict=True)
        ]
        whole = {"seconds_total": round(sum(of_calls), 1), "calls": calls, "started": self._started}
        return manifest.model_copy(update=whole)

    def _put_aside(self, unit: str) -> Path:
        """Move a shard to where it is kept and not read; gives the place."""
        folder = self.path / DAMAGED
        names = (f"{unit}{'' if number == 1 else f'-{number}'}.parquet" for number in count(1))
        place = next(folder / name for name in names if not os.path.lexists(folder / name))
        with self._writing():
            folder.mkdir(exist_ok=True)
            self._file(unit).rename(place)
        return place

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Mistakes of the disk as one line, and none of them where the directory itself is gone."""
        self._lock.require_place()
        try:
            yield
        except OSError as error:
            self._lock.require_place()
            why = error.strerror or (str(error).splitlines() or [type(error).__name__])[0]
            where = error.filename or self.path
            raise UserError(
                f"{where} cannot be written or read ({why}): what is done is kept; mend that, and the same command "
                "resumes"
            ) from error

    def _file(self, unit: str) -> Path:
        return self._shards / f"{unit}.parquet"


def sink_for(out: Path | str | None, manifest: Manifest) -> Sink:
    """Where a run goes that shall be in a directory, at an address, or in memory.

    Args:
        out: The directory or address; None for memory.
        manifest: Of the run: runs of other settings are computed in other places.

    Raises:
        UserError: It is an address at which no run can lie.
    """
    if out is None:
        return RunInMemory()
    if isinstance(place := place_of(out), Path):
        return RunDirectory(place)
    stage = stage_of(place, digest_of_content(manifest.settings.model_dump(mode="json")))
    return RunDirectory(stage, Mirror(Store(place), stage))


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

    def has(self, unit: str, expected: Callable[[], pa.Table]) -> bool:
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
