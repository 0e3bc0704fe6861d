"""Units of a run on a Ray cluster: actors hold the models, this process hands out work and writes what comes back."""

from __future__ import annotations

import importlib
import logging
import os
import pickle
import socket
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from memdet.errors import UserError
from memdet.running.description import threads_asked
from memdet.running.job import Job
from memdet.running.ray_scorer import Outcome, Scorer
from memdet.running.work_plan import Unit, by_owner
from memdet.source_files import reason

IN_FLIGHT = 2  # units that an actor has: one that it computes, and the next
TRIES = 3  # of a unit whose actor ended
CONNECTED_WITHIN = 10.0  # seconds
PATIENCE = 30.0  # seconds without a single actor after which it is said what is waited for
_HOW = "pip install 'memdet[ray]'"


@dataclass
class _Member:
    """One actor, and what it is to do.

    Attributes:
        actor: Its handle.
        waits: Units that are its own and not yet sent: they share constants, so one actor computes them.
        ready: Whether it has loaded the models.
    """

    actor: Any
    waits: deque[tuple[str, int]] = field(default_factory=deque)
    ready: bool = False


def compute_on_ray(job: Job) -> Iterator[tuple[str, int]]:
    """Compute the units of a run on a cluster, or on this machine where no ``address`` is given.

    Each actor loads the models once. It gets two units at a time, so that what is on the way stays small however large
    the run is. A unit whose actor ended is given to another one; when there is nothing left to hand out, idle actors
    compute what others still have, and the first result counts. Shards are written by this process.

    Yields:
        The sample set of what has been finished, and how many units it was.

    Raises:
        UserError: Ray is not installed or not to be reached, actors keep ending, or the work itself refuses.
    """
    with _cluster(job) as ray:
        crew = _Crew(ray, job)
        try:
            yield from crew.compute()
        finally:
            crew.dismiss()


class _Crew:
    """The actors of a run, what they have in hand, and what is left.

    Args:
        ray: The module, connected.
        job: The run.
    """

    def __init__(self, ray: Any, job: Job) -> None:
        self._ray, self._job = ray, job
        on_gpu = job.options.device.partition(":")[0] == "cuda"
        resources = {"num_gpus": 1} if on_gpu else {"num_cpus": 1}
        self._class = ray.remote(max_restarts=0, **resources)(Scorer)
        work = pickle.dumps((list(job.sample_sets), list(job.detectors), type(job.work)))
        self._given = ray.put(work), job.options, job.work.fingerprints(), threads_asked()
        self._groups = deque(by_owner(job.work.plan))
        self._left = sum(map(len, job.work.plan.values()))
        self._done: set[tuple[str, int]] = set()
        self._tried: dict[tuple[str, int], int] = {}
        self._crew: list[_Member] = []
        self._asked: dict[Any, tuple[_Member, tuple[str, int] | None]] = {}

    def compute(self) -> Iterator[tuple[str, int]]:
        """All units; see :func:`compute_on_ray`."""
        for _ in range(self._job.options.workers):
            self._enlist()
        while self._left:
            yield from self._hand_out()
            if not self._left:
                return
            ready, _ = self._ray.wait(list(self._asked), timeout=PATIENCE)
            if not ready and not any(member.ready for member in self._crew):
                self._say_what_is_waited_for()
            for ref in ready:
                member, unit = self._asked.pop(ref)
                outcome = self._result(ref, member, unit)
                if unit is not None and outcome is not None and self._keep(unit, outcome):
                    yield unit[0], 1

    def dismiss(self) -> None:
        """End all actors."""
        for member in self._crew:
            self._ray.kill(member.actor)

    def _enlist(self) -> None:
        member = _Member(self._class.remote(*self._given))
        self._crew.append(member)
        self._asked[member.actor.ready.remote()] = member, None

    def _hand_out(self) -> Iterator[tuple[str, int]]:
        """Give every actor that has room its next unit; those that are stored already are told as finished."""
        for member in self._crew:
            while member.ready and sum(other is member for other, _ in self._asked.values()) < IN_FLIGHT:
                key = self._next(member)
                if key is None:
                    break
                unit = self._unit(key)
                if key not in self._done and self._job.work.is_stored(key[0], unit, self._job.sink):
                    self._finish(key)
                    yield key[0], 1
                elif key not in self._done:
                    self._asked[member.actor.compute.remote(key[0], unit)] = member, key

    def _next(self, member: _Member) -> tuple[str, int] | None:
        """What an actor is to do next: its own, a new group, half of what another one has, or what is late."""
        if not member.waits and self._groups:
            member.waits.extend((name, index) for name, indices in self._groups.popleft() for index in indices)
        if not member.waits:
            richest = max(self._crew, key=lambda other: len(other.waits))
            for _ in range(len(richest.waits) // 2):
                member.waits.appendleft(richest.waits.pop())
        if member.waits:
            return member.waits.popleft()
        others = [key for other, key in self._asked.values() if other is not member and key is not None]
        own = {key for other, key in self._asked.values() if other is member}
        late = [key for key in others if key not in own and others.count(key) == 1 and key not in self._done]
        return late[0] if late and None not in own and not own else None

    def _result(self, ref: Any, member: _Member, key: tuple[str, int] | None) -> Outcome | None:
        """What an actor gave; None where it ended, or only said that it is ready."""
        errors = self._ray.exceptions
        try:
            outcome = self._ray.get(ref)
        except (errors.ActorDiedError, errors.ActorUnavailableError, errors.OutOfMemoryError) as error:
            self._replace(member, error, key)
            return None
        except errors.ObjectStoreFullError:  # what others have in hand makes room
            if key is not None:
                self._again(key, member.waits)
            return None
        except errors.RayTaskError as error:
            raise _cause(error) from None
        member.ready = True
        return outcome if key is not None else None

    def _replace(self, member: _Member, error: Exception, key: tuple[str, int] | None) -> None:
        """Give what an actor that ended had to do to the others, and start one in its place."""
        if member not in self._crew:
            return
        self._crew.remove(member)
        mine = {ref: unit for ref, (other, unit) in self._asked.items() if other is member}
        for ref in mine:
            del self._asked[ref]
        print(f"memdet: an actor ended ({reason(error)[:200]}): its units go to others", file=sys.stderr)
        again = deque[tuple[str, int]]()
        for unit in (key, *mine.values()):
            if unit is not None and unit not in self._done:
                self._again(unit, again)
        self._enlist()
        self._crew[-1].waits.extend([*again, *member.waits])
        if key is None:
            self._tried[("", 0)] = self._tried.get(("", 0), 0) + 1
            if self._tried[("", 0)] >= TRIES * self._job.options.workers:
                raise UserError(f"actors end before they are ready: {reason(error)[:300]}")

    def _again(self, key: tuple[str, int], where: deque[tuple[str, int]]) -> None:
        self._tried[key] = self._tried.get(key, 0) + 1
        if self._tried[key] >= TRIES:
            raise UserError(
                f"unit {self._unit(key).name} ended its process {TRIES} times; what is done is kept, the same command "
                "resumes"
            )
        where.append(key)

    def _keep(self, key: tuple[str, int], outcome: Outcome) -> bool:
        """Write a shard; False where another actor was first."""
        if key in self._done:
            return False
        for rows, notes in outcome:
            self._job.sink.write_shard(self._unit(key).name, rows, notes)
        self._finish(key)
        return True

    def _finish(self, key: tuple[str, int]) -> None:
        self._done.add(key)
        self._left -= 1

    def _unit(self, key: tuple[str, int]) -> Unit:
        return self._job.work.plan[key[0]][key[1]]

    def _say_what_is_waited_for(self) -> None:
        wanted = "GPU" if self._job.options.device.startswith("cuda") else "CPU"
        total = self._ray.cluster_resources().get(wanted, 0)
        print(
            f"memdet: no actor is ready: each takes a {wanted} of the cluster, which has {total:g}, and loads the "
            "models",
            file=sys.stderr,
        )


def _require_reachable(address: str) -> None:
    """Refuse an address at which nobody listens, which Ray itself would ask for minutes."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not colon:  # auto, local
        return
    try:
        socket.create_connection((host, int(port)), timeout=CONNECTED_WITHIN).close()
    except (OSError, ValueError, OverflowError) as error:
        raise UserError(
            f"`address` {address} cannot be reached ({reason(error)}): name that of the head node, HOST:6379 say",
            parameters=("address",),
        ) from None


def _cause(error: Any) -> Exception:
    cause = getattr(error, "cause", None)
    if isinstance(cause, UserError):
        return cause
    return UserError(f"an actor failed: {reason(cause or error)[:500]}")


@contextmanager
def _cluster(job: Job) -> Iterator[Any]:
    """Ray, connected; what this process started it also ends."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # which would open connections
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's own 15 gives way to all other processes
    try:
        ray = importlib.import_module("ray")
    except ImportError:
        raise UserError(f"the engine ray needs the package ray: {_HOW}") from None
    if ray.is_initialized():  # by the caller, who also ends it
        yield ray
        return
    address = job.options.address
    told: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        told |= {"address": "local", "num_cpus": job.options.workers, "include_dashboard": False}
    else:
        _require_reachable(address)
        told |= {"address": address}
    try:
        ray.init(**told)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError, OSError) as error:
        where = "a local Ray cannot be started" if address is None else f"`address` {address} cannot be reached"
        raise UserError(f"{where}: {reason(error)[:300]}", parameters=("address",)) from None
    try:
        yield ray
    finally:
        ray.shutdown()
