"""One process at a time writes into a directory; the system lets go of the lock when that process ends."""

from __future__ import annotations

import json
import os
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path

from memdet.errors import UserError

LOCK_FILE = ".lock"
_BEYOND = 2**30  # the byte that Windows locks, behind what the file says, which others can read


class DirectoryLock:
    """The right to write into a directory; the file ``.lock`` there says who has it.

    The file alone means nothing: one that a killed process left behind is taken over.

    Args:
        directory: Exists when the lock is taken.
    """

    def __init__(self, directory: Path) -> None:
        self._directory, self._path = directory, directory / LOCK_FILE
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            UserError: Another process, or another thread of this one, has it: who, and since when.
        """
        while self._file is None:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
            if not _try_lock(file, self._directory):
                owner = _told(file)
                os.close(file)
                raise UserError(
                    f"{self._directory} is in use: {owner}: wait until that run ends, or end it and repeat the "
                    "command, or choose another directory"
                )
            if _is_at(file, self._path):
                self._file = file
            else:  # its last owner removed it between the two calls
                os.close(file)
        os.truncate(self._file, 0)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        os.write(self._file, json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": now}).encode())

    def watch(self) -> None:
        """Look at the lock that the caller of this process holds, for :meth:`require_place`."""
        try:
            self._file = os.open(self._path, os.O_RDONLY)
        except OSError:
            raise self._gone() from None

    def release(self) -> None:
        """Let go of the lock, and remove its file, if it is held."""
        if self._file is None:
            return
        if _is_at(self._file, self._path):
            self._path.unlink(missing_ok=True)
        os.close(self._file)
        self._file = None

    def require_place(self) -> None:
        """Refuse to write where the directory is not the one that was locked any more.

        Raises:
            UserError: It was deleted or moved, and another one may lie in its place.
        """
        if self._file is not None and not _is_at(self._file, self._path):
            raise self._gone()

    def _gone(self) -> UserError:
        return UserError(
            f"{self._directory} was deleted or moved while the run wrote there: put it back, and the same command "
            "resumes; without it the same command starts again"
        )


def _try_lock(file: int, directory: Path) -> bool:
    """Lock an open file without waiting; False where somebody else has it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(file, _BEYOND, os.SEEK_SET)
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
            os.lseek(file, 0, os.SEEK_SET)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        os.close(file)
        raise UserError(
            f"{directory} cannot be locked ({error.strerror or error}), so that two runs could mix there: choose a "
            "directory on another disk"
        ) from None
    return True


def _is_at(file: int, path: Path) -> bool:
    """Whether an open file is the one at a path."""
    try:
        there, here = os.stat(path), os.fstat(file)
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def _told(file: int) -> str:
    """What the file says of its owner, in words."""
    try:
        said = json.loads(os.read(file, 1000))
        return f"process {int(said['pid'])} on {said['host']} writes there since {said['since']}"
    except (OSError, ValueError, KeyError, TypeError):  # it has only just been taken
        return "another process writes there"
