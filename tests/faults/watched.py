"""A parser that reads a case under watch: what it raises, takes, writes and begins."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from memdet.errors import UserError

SECONDS, BYTES = 30, 2**30
"""What one example may take."""
_TURNS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_CHANGES = ("os.", "shutil.", "socket.", "subprocess.", "ctypes.dlopen", "pty.")
_READS = ("os.listdir", "os.scandir", "os.walk", "os.fwalk", "os.getxattr", "os.listxattr", "os.putenv", "os.unsetenv")
Files = dict[str, bytes]
Read = Callable[[Path, Any], object]


@dataclass(frozen=True)
class Parser:
    """What is tried.

    Attributes:
        cases: What is read: files by their name, or values. The simplest is a valid one.
        read: Reads a case; the files are in the folder.
        valid: A case that is read.
        examples: In a test.
        refusals: Exceptions that it may raise.
    """

    cases: st.SearchStrategy[Any]
    read: Read
    valid: Any
    examples: int = 100
    refusals: tuple[type[Exception], ...] = (UserError,)


class Hangs(BaseException):
    """It took longer than it may; no parser takes it for an error of its own."""


def check(parser: Parser, case: Any, folder: Path) -> bool:
    """Read a case; whether it was refused.

    Raises:
        AssertionError: Another error than a refusal, a message that is no line, or something written or begun.
    """
    _warm(parser, folder)
    write(case, folder)
    before, started = _peak(), time.monotonic()
    told, changes = _read(parser, case, folder)
    if changes:  # of a package that is imported for this case alone, which makes what it likes once
        told, changes = _read(parser, case, folder)
    assert not changes, changes
    assert time.monotonic() - started < SECONDS
    assert _peak() - before < BYTES, "memory"
    assert told is None or (told and not _TURNS.search(told)), repr(told)
    return told is not None


def _read(parser: Parser, case: Any, folder: Path) -> tuple[str | None, list[str]]:
    """What a refusal says, None where there is none, and what was written or begun."""
    with _watched() as changes, _stopped():
        try:
            parser.read(folder, case)
        except parser.refusals as error:
            return str(error), changes
    return None, changes


_warmed: set[int] = set()


def _warm(parser: Parser, folder: Path) -> None:
    """Read the valid case once unwatched: packages that are imported for it open and make what they like."""
    if id(parser) in _warmed:
        return
    _warmed.add(id(parser))
    write(parser.valid, folder)
    with contextlib.suppress(*parser.refusals):
        parser.read(folder, parser.valid)


def write(case: Any, folder: Path) -> None:
    """Write the files of a case; all cases of a parser have the same."""
    if all(isinstance(data, bytes) for data in case.values()):
        for name, data in case.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)


_changes: list[str] | None = None


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if _changes is None:
        return
    if event == "open" and isinstance(arguments[2], int):
        if arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
            _changes.append(f"open {arguments[0]}")
    elif event.startswith(_CHANGES) and event not in _READS:
        _changes.append(f"{event} {arguments}")


@cache
def _listen() -> None:
    sys.addaudithook(_note)  # it stays until the process ends


@contextmanager
def _watched() -> Iterator[list[str]]:
    """What is written, removed, begun or connected to meanwhile."""
    global _changes
    _listen()
    _changes = found = []
    try:
        yield found
    finally:
        _changes = None


@contextmanager
def _stopped() -> Iterator[None]:
    """An end to what hangs."""

    def stop(number: int, frame: object) -> None:
        raise Hangs("it hangs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(2 * SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _peak() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
