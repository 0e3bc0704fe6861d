"""Run directories at an address, ``s3://bucket/run``, by fsspec: a run is computed on this machine and copied there."""

from __future__ import annotations

import atexit
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from memdet.errors import UserError
from memdet.given_files import read_json
from memdet.io_utils import is_unfinished_file, replacing, say_instead, unfinished_name
from memdet.results.images import FILE as IMAGE_FILE
from memdet.results.lock import LOCK_FILE
from memdet.results.manifest import FILE
from memdet.results.store import GENERATION_FILE, ITEM_FILE, SCORE_FILE

SHARDS = "shards"
"""Folder of a run: of what is done so far."""
READ = (FILE, SCORE_FILE, ITEM_FILE, GENERATION_FILE, IMAGE_FILE)
"""Files of a finished run."""
_HERE = ("file", "local")
_WHOLE = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oci", "memory"})
"""Protocols of object stores: an upload is there as a whole or not at all, and folders need not be made."""
_PACKAGES = {"s3": "memdet[remote]", "s3a": "memdet[remote]"}


def place_of(given: str | os.PathLike[str], name: str = "out") -> str | Path:
    """The address of a run directory that is not on this machine, as a text; else its path.

    Args:
        given: A path, ``file://`` and a path, or an address of another protocol of fsspec.
        name: Of the parameter, for errors.

    Raises:
        UserError: It is an address at which no run can lie.

    Example:
        >>> place_of("runs/a"), place_of("file:///runs/a"), place_of("s3://bucket/run/")
        (PosixPath('runs/a'), PosixPath('/runs/a'), 's3://bucket/run')
    """
    text = os.fspath(given)
    if "://" not in text:
        return Path(text)
    protocol, _, rest = text.partition("://")
    if protocol in _HERE:
        return Path(rest)
    if why := _not_an_address(protocol, rest):
        raise UserError(f"`{name}` {text} {why}", parameters=(name,))
    return f"{protocol}://{rest.rstrip('/')}"


def is_address(given: object) -> bool:
    """Whether something is an address, or means to be one."""
    return isinstance(given, str) and "://" in given


def _not_an_address(protocol: str, rest: str) -> str:
    if protocol in ("http", "https"):
        return "is a web page, where no run can be written: name an object store, s3://bucket/run, or a directory"
    if "::" in protocol or not re.fullmatch(r"[a-z][a-z0-9+.-]*", protocol):
        return "is no address: write PROTOCOL://PLACE/RUN"
    if "@" in rest.partition("/")[0] and ":" in rest.partition("@")[0]:
        return "holds a password, which the run would keep: give it as the store's package reads it"
    parts = rest.strip("/").split("/")
    if not parts[0] or {"", ".", ".."} & set(parts):
        return "is no address: write PROTOCOL://PLACE/RUN, without . and .. in it"
    return ""


def stage_of(address: str, settings: str) -> Path:
    """Where on this machine a run is computed whose directory is elsewhere; other settings are another place.

    Args:
        address: Of the run directory.
        settings: Checksum of the run's settings.
    """
    import platformdirs

    digest = hashlib.sha256(f"{address}\n{settings}".encode()).hexdigest()[:16]
    return Path(platformdirs.user_cache_dir("memdet")) / "remote-runs" / digest / _name(address)


def forget_at_exit(directory: Path) -> None:
    """Remove a copy, which has a folder of its own, when this process ends; until then what is read lazily is there."""
    owner = os.getpid()

    def remove() -> None:
        if os.getpid() == owner:
            shutil.rmtree(_top(directory), ignore_errors=True)

    atexit.register(remove)


def fetched(address: str) -> Path:
    """A copy of the finished runs at and below an address, for as long as this process runs.

    Args:
        address: As :func:`place_of` gives it.

    Returns:
        A directory, which messages call by its address.

    Raises:
        UserError: The store cannot be read.
    """
    store = Store(address)
    directory = Path(tempfile.mkdtemp(prefix="memdet-")).resolve() / _name(address)
    directory.mkdir(parents=True)
    forget_at_exit(directory)
    say_instead(directory, address)
    for name in store.files():
        if PurePosixPath(name).name in READ:
            store.fetch(name, directory)
    return directory


@dataclass(frozen=True)
class Store:
    """Files at an address, by their path below it.

    Attributes:
        address: As :func:`place_of` gives it.
    """

    address: str

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        """The file system, which each process opens for itself, and the path in it."""
        from fsspec.core import url_to_fs

        protocol = self.address.partition("://")[0]
        try:
            system, path = url_to_fs(self.address)
        except ImportError as error:
            wanted = _PACKAGES.get(protocol)
            how = f"pip install '{wanted}'" if wanted else _line(error)
            raise UserError(f"{self.address}: the package for {protocol}:// is not installed: {how}") from None
        except Exception as error:  # whatever a file system says of its address
            raise UserError(f"{self.address} cannot be opened ({_line(error)}): check the address") from None
        return system, str(path).rstrip("/")

    @property
    def system(self) -> Any:
        """The file system of fsspec."""
        return self._opened[0]

    def path(self, name: str = "") -> str:
        """Of a file, as the file system has it."""
        return f"{self._opened[1]}/{name}" if name else self._opened[1]

    @property
    def _is_whole(self) -> bool:
        return self.address.partition("://")[0] in _WHOLE

    def files(self) -> dict[str, int | None]:
        """Size of each file, by its path from the address.

        Raises:
            UserError: The store cannot be read.
        """
        with self._asking("read"):
            self.system.invalidate_cache()
            try:
                found: Mapping[str, Any] = self.system.find(self.path(), detail=True)
            except FileNotFoundError:
                return {}
        prefix = self.path().strip("/") + "/"
        names = {path.strip("/").removeprefix(prefix): about for path, about in found.items()}
        return {
            name: about.get("size")
            for name, about in sorted(names.items())
            if not {"", ".", ".."} & set(name.split("/")) and "\\" not in name
        }

    def fetch(self, name: str, directory: Path) -> None:
        """Copy a file to this machine, all or nothing."""
        target = directory / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{target.parent} cannot be made ({error.strerror}): mend that and repeat") from None
        with replacing(target) as temporary, self._asking("read"):
            self.system.get_file(self.path(name), str(temporary))

    def send(self, name: str, directory: Path) -> None:
        """Copy a file from this machine, all or nothing where the store can: elsewhere readers notice half a file.

        Raises:
            UserError: The store does not take it.
        """
        source, target = str(directory / name), self.path(name)
        with self._asking("written", ": what is done is kept on this machine; mend that, and the same command resumes"):
            if self._is_whole:
                self.system.put_file(source, target)
                return
            folder, _, last = target.rpartition("/")
            self.system.makedirs(folder, exist_ok=True)
            temporary = f"{folder}/{unfinished_name(last)}"
            self.system.put_file(source, temporary)
            self.system.mv(temporary, target)

    def write(self, name: str, data: bytes, *, create: bool = False) -> None:
        """Write a small file.

        Args:
            name: Of the file.
            data: All of it.
            create: Whether it must not be there yet; stores that can tell refuse in one step.

        Raises:
            FileExistsError: It is there.
            UserError: The store does not take it.
        """
        with self._asking("written", ": check the address, and what you may do there", keep=FileExistsError):
            if not self._is_whole:
                self.system.makedirs(self.path(), exist_ok=True)
            self.system.pipe_file(self.path(name), data, mode="create" if create else "overwrite")

    def read(self, name: str) -> bytes | None:
        """Content of a small file; None where it is missing."""
        with self._asking("read"):
            self.system.invalidate_cache()
            try:
                data: bytes = self.system.cat_file(self.path(name))
            except FileNotFoundError:
                return None
        return data

    def remove(self, names: list[str]) -> None:
        """Remove files, if they are there."""
        with self._asking("written"):
            for name in names:
                with suppress(FileNotFoundError):
                    self.system.rm_file(self.path(name))

    @contextmanager
    def _asking(self, done: str, what_now: str = "", keep: type[Exception] | tuple[()] = ()) -> Iterator[None]:
        """Mistakes of a file system, of which each has its own, as one line."""
        try:
            yield
        except UserError:
            raise
        except keep:
            raise
        except Exception as error:
            now = what_now or ": check the address, your credentials and the connection"
            raise UserError(f"{self.address} cannot be {done} ({_line(error)}){now}") from error


@dataclass(frozen=True)
class Mirror:
    """The directory of a run at an address, and the one on this machine in which the run is computed.

    Attributes:
        store: Where the run shall be.
        stage: Directory on this machine.
    """

    store: Store
    stage: Path

    def begin(self) -> None:
        """Fetch the manifest that a call goes on with.

        A finished run of the store counts, then one that was finished here and not sent, then what the store has.
        """
        there = self.store.files()
        if FILE not in there:
            if any(name != LOCK_FILE and not _is_partial(name) for name in there):
                raise UserError(f"{self.store.address} holds other files and no run: choose a new place")
            return
        whole = _is_finished(self.stage) and (self.stage / SCORE_FILE).is_file()
        copy = self.stage.with_name(".there")
        self.store.fetch(FILE, copy)
        if whole and not _is_finished(copy):
            return
        shutil.move(copy / FILE, self.stage / FILE)
        for name in READ[1:]:
            (self.stage / name).unlink(missing_ok=True)

    def fetch(self) -> None:
        """Fetch what the store has of the run and this machine has not."""
        finished = _is_finished(self.stage)
        for name in self.store.files():
            wanted = name in READ[1:] if finished else _is_shard(name)
            if wanted and not (self.stage / name).exists():
                self.store.fetch(name, self.stage)

    def settle(self) -> None:
        """Send what this machine has of the run and the store has not, the manifest last; remove what is left over."""
        there = self.store.files()
        here = {
            path.relative_to(self.stage).as_posix(): path.stat().st_size
            for path in sorted(self.stage.rglob("*"))
            if path.is_file() and path.name != LOCK_FILE and not is_unfinished_file(path)
        }
        for name in sorted(here, key=lambda name: name == FILE):
            if name == FILE or there.get(name) != here[name]:
                self.store.send(name, self.stage)
        self.store.remove([name for name in there if name not in here and (_is_shard(name) or _is_partial(name))])

    def send(self, path: Path) -> None:
        """Send a file of the run that was written on this machine."""
        self.store.send(path.relative_to(self.stage).as_posix(), self.stage)


def _is_partial(name: str) -> bool:
    return is_unfinished_file(Path(name))


def _is_shard(name: str) -> bool:
    folder, _, last = name.partition("/")
    return folder == SHARDS and "/" not in last and not _is_partial(name)


def _is_finished(directory: Path) -> bool:
    """Whether a manifest says so, which is checked later; False where there is none."""
    try:
        return read_json(directory / FILE).get("finished") is True
    except UserError:
        return False


def _name(address: str) -> Path:
    """The end of an address, after which a run is called: two folders, as below ``results``."""
    parts = [re.sub(r"[^\w.@=-]", "-", part) for part in address.partition("://")[2].split("/")[-2:]]
    return Path(*parts)


def _top(directory: Path) -> Path:
    """The folder that was made for a copy."""
    return next(
        (one for one in directory.parents if one.name.startswith("memdet-") or one.parent.name == "remote-runs"),
        directory,
    )


def _line(error: BaseException) -> str:
    """What an error says, in a line; of many a file system's it is little."""
    text = " ".join(str(error).split()) or (error.strerror if isinstance(error, OSError) and error.strerror else "")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
