"""One process at a time writes a run into a store: a file there says who, and is written again and again."""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

from memdet.errors import UserError
from memdet.results.lock import LOCK_FILE
from memdet.results.remote import Store

RENEWED_AFTER = 60.0
"""Seconds between two signs of life."""
EXPIRES_AFTER = timedelta(minutes=10)
"""Without one, another process may take over; clocks of machines may differ by less."""


class Lease:
    """The right to write a run into a store, as far as the store can hold it.

    A store lets go of nothing when a process is killed, so a lease that nobody renews is taken over: at once where its
    process was one of this machine that is gone, else after :data:`EXPIRES_AFTER`.

    Args:
        store: Where the run is.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._token = secrets.token_hex(8)
        self._since = _now()
        self._taken_by = ""
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def acquire(self) -> None:
        """Take the lease.

        Raises:
            UserError: Another process has it; or the store cannot be written.
        """
        try:
            self._store.write(LOCK_FILE, self._text(), create=True)
        except FileExistsError:
            said = self._said()
            if said and not _is_over(said):
                raise UserError(
                    f"{self._store.address} is in use: {_told(said)}: wait until that run ends; if it was killed, it "
                    f"can be resumed {EXPIRES_AFTER.seconds // 60} minutes after its last sign of life, or once "
                    f"{LOCK_FILE} there is deleted"
                ) from None
            self._store.write(LOCK_FILE, self._text())
        self._thread = threading.Thread(target=self._renew_often, daemon=True)
        self._thread.start()

    def require(self) -> None:
        """Refuse to write once another process has taken over.

        Raises:
            UserError: It has: who.
        """
        if self._taken_by:
            raise UserError(
                f"{self._store.address} was taken over while this run was silent ({self._taken_by}): let that one end"
            )

    def renew(self) -> None:
        """Give a sign of life, and see whether the lease is still this process's."""
        said = self._said()
        if said and said.get("token") != self._token:
            self._taken_by = _told(said)
        else:
            self._store.write(LOCK_FILE, self._text())

    def release(self) -> None:
        """Let go."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        try:
            if self._said().get("token") == self._token:
                self._store.remove([LOCK_FILE])
        except UserError:  # what it would say, the run has said; the lease expires
            pass

    def _renew_often(self) -> None:
        while not self._ended.wait(RENEWED_AFTER):
            try:
                self.renew()
            except UserError:  # the next file that is sent says it, if it lasts
                continue

    def _text(self) -> bytes:
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": self._since}
        return json.dumps(owner | {"renewed": _now(), "token": self._token}).encode()

    def _said(self) -> dict[str, Any]:
        """What the file says; empty where it is missing or says nothing."""
        try:
            said = json.loads(self._store.read(LOCK_FILE) or b"{}")
        except ValueError:
            return {}
        return said if isinstance(said, dict) else {}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _is_over(said: dict[str, Any]) -> bool:
    """Whether the owner of a lease is gone."""
    try:
        if datetime.now(UTC) - datetime.fromisoformat(said["renewed"]) > EXPIRES_AFTER:
            return True
        return said["host"] == socket.gethostname() and not _lives(int(said["pid"]))
    except (KeyError, TypeError, ValueError):
        return True


def _lives(pid: int) -> bool:
    """Whether a process of this machine is there; containers of one name are taken for one machine."""
    if os.name == "nt":  # where signal 0 ends a process
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _told(said: dict[str, Any]) -> str:
    return f"process {said.get('pid')} on {said.get('host')} writes there since {said.get('since')}"
