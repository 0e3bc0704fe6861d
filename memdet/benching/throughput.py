"""What each detector costs on this machine: items a second, and how much of that time is the network."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import torch
from tqdm import tqdm

from memdet.benching.interleaved import Spread, interleave, ratio
from memdet.benching.network_calls import Call, recorded_calls, replay
from memdet.benching.subprocess_memory import peak_of_process
from memdet.benching.timing import device_state, seconds_of, warm_up
from memdet.detectors import Detector
from memdet.errors import UserError
from memdet.models import ClosedForm, ScoreModel, WrappedModel, load_model
from memdet.models.accelerated import Accelerated, Mode, accelerate
from memdet.models.condition import Condition
from memdet.models.device import synchronise
from memdet.probing import Context, Cost, Probe, SeedMemory
from memdet.probing.branch_policy import rows_of_calls
from memdet.probing.from_sample_set import dev_items, items_of
from memdet.running.memory import OutOfMemoryError, keep_freed_memory
from memdet.running.remarks import cut_prompts, say
from memdet.running.scoring import score_items
from memdet.running.workers import leave_if_starting
from memdet.samplesets import SampleSet
from memdet.torch_state import in_own_state

BARE_FORWARD = "bare-forward"


@dataclass(frozen=True)
class BenchOptions:
    """How it is measured.

    Attributes:
        device, dtype: Of the model.
        noise: ``shared`` or ``per-item``; None takes that of the sample set's protocol.
        seed: Of the noise.
        accelerate: How forwards are compiled.
        rounds: Of each measurement.
        most_seconds: No further round of a measurement is begun after that time, but three are made.
        memory: Take peak memory in a process of its own.
    """

    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    noise: Literal["shared", "per-item"] | None = None
    seed: int = 0
    accelerate: Mode = "off"
    rounds: int = 15
    most_seconds: float = 60.0
    memory: bool = True


@dataclass
class Throughput:
    """One detector on one model at one batch size.

    Attributes:
        detector, model, device, dtype, batch_size, noise: What was measured.
        status: ``ok``, ``not-applicable``, ``nonfinite`` or ``error``.
        message: Why, empty if all is well.
        calls: Network calls of a batch, once what all batches of a seed share is known.
        seconds: Of a batch, one a round, what all batches of a seed share excepted.
        bare: Of the same network calls with nothing around them, one a round, beside those.
        forward: Of one bare forward of the batch, likewise.
        first_call_seconds: Of the first batch of a seed: with what its batches share.
        load_seconds, embed_seconds: Of the model, and of encoding the conditions of the first batch of this size; not
            in ``seconds``.
        accelerate: ``off``, or how the network is compiled.
        compile_seconds: Of that at this batch size, not in ``first_call_seconds``; NaN if nothing is compiled.
        peak_memory: Bytes, in a process of its own; None where it was not taken.
        device_state: Clocks, driver, power or load right after the last round.
    """

    detector: str
    model: str
    device: str
    dtype: str
    batch_size: int
    noise: str
    status: str = "ok"
    message: str = ""
    calls: list[Call] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    forward: list[float] = field(default_factory=list)
    first_call_seconds: float = math.nan
    load_seconds: float = math.nan
    embed_seconds: float = math.nan
    accelerate: str = "off"
    compile_seconds: float = math.nan
    peak_memory: int | None = None
    device_state: dict[str, str] = field(default_factory=dict)

    @property
    def items_per_second(self) -> Spread:
        """Items of a batch over its seconds."""
        return Spread.of([self.batch_size / seconds for seconds in self.seconds])

    @property
    def evaluations_per_second(self) -> float:
        """Network evaluations of one item and branch (forwards, JVPs and VJPs) over the median seconds."""
        return sum(call.rows for call in self.calls) / Spread.of(self.seconds).median

    @property
    def efficiency(self) -> Spread | None:
        """Time of the bare network calls over that of the detector; None if it makes none."""
        return ratio(self.bare, self.seconds) if self.calls else None

    @property
    def forward_equivalents(self) -> Spread:
        """Time of a batch in bare forwards of it."""
        return ratio(self.seconds, self.forward)


class Encoded(WrappedModel):
    """A model that keeps what it has encoded: encoders are no cost of a detector."""

    def __init__(self, inner: ScoreModel) -> None:
        super().__init__(inner)
        self._known: dict[tuple[str, ...], Condition] = {}
        self._null: Condition | None = None

    def embed(self, conditions: Sequence[str]) -> Condition:
        """Encode conditions, once each batch of them."""
        key = tuple(conditions)
        if key not in self._known:
            self._known[key] = self.inner.embed(conditions)
        return self._known[key]

    def embed_null(self) -> Condition:
        """Encode the null condition, once."""
        if self._null is None:
            self._null = self.inner.embed_null()
        return self._null


class Bench:
    """A model and batches of items, ready to be measured.

    Args:
        sample_set: Gives conditions, protocol and dev items; its items are repeated where a batch is larger.
        options: How it is measured.
        model: Name or directory; that of the sample set's items if not given.
    """

    def __init__(self, sample_set: SampleSet, options: BenchOptions, model: str | None = None) -> None:
        if options.noise is not None:
            sample_set = replace(sample_set, protocol=sample_set.protocol.model_copy(update={"noise": options.noise}))
        self.sample_set, self.options = sample_set, options
        self.model_name = model or str(sample_set.items["model"].iloc[0])
        started = time.perf_counter()
        eager = load_model(self.model_name, device=options.device, dtype=options.dtype)
        synchronise(eager.device)
        self.load_seconds = time.perf_counter() - started
        # A closed form looks its conditions up in a table, and has to be seen as one.
        kept = eager if isinstance(eager, ClosedForm) else Encoded(eager)
        self.model = accelerate(kept, options.accelerate)
        self._prepared: dict[int, tuple[float, float]] = {}
        rows = sample_set.items
        rows = rows[rows["split"] == "test"]
        if model is None:
            rows = rows[rows["model"] == self.model_name]
        self.rows = rows

    def batch(self, size: int) -> Batch:
        """Items of one batch."""
        rows = self.rows.iloc[[index % len(self.rows) for index in range(size)]]
        return Batch(self, rows)

    def prepare(self, batch_size: int) -> float:
        """Compile the network for a batch and for what all items share; seconds, NaN if nothing is compiled."""
        if not isinstance(self.model, Accelerated):
            return math.nan
        started = time.perf_counter()
        rows = rows_of_calls(self.model, batch_size, self.sample_set.protocol.noise)
        self.model.prepare(rows, str(self.rows["condition"].iloc[0]))
        synchronise(self.model.device)
        return time.perf_counter() - started

    def measure(self, detector: Detector, batch_size: int) -> Throughput:
        """One detector at one batch size."""
        options = self.options
        if batch_size not in self._prepared:
            self._prepared[batch_size] = (self.prepare(batch_size), self.batch(batch_size).embed_seconds)
        compile_seconds, embed_seconds = self._prepared[batch_size]
        batch = self.batch(batch_size)
        found = Throughput(
            detector=detector.label,
            model=self.model.name,
            device=str(self.model.device),
            dtype=str(self.model.dtype).removeprefix("torch."),
            batch_size=batch_size,
            noise=self.sample_set.protocol.noise,
            accelerate=options.accelerate,
            compile_seconds=compile_seconds,
            load_seconds=self.load_seconds,
            embed_seconds=embed_seconds,
        )
        try:
            _, statuses, _, found.message = batch.score(detector)
        except OutOfMemoryError as error:
            statuses, found.message = ["error"], f"out of memory with {error.items} items at once"
        found.status = next((status for status in statuses if status != "ok"), "ok")
        if found.status != "ok":
            return found
        batch = self.batch(batch_size)  # the first call of a seed
        found.first_call_seconds = warm_up(lambda: batch.seconds(detector))
        with recorded_calls(self.model) as calls:
            batch.score(detector)
        found.calls = list(calls)
        bare = replay(found.calls, self.model, batch.condition)
        forward = replay([Call("forward", batch_size)], self.model, batch.condition)
        device = self.model.device
        bare()
        forward()
        taken = interleave(
            {
                "detector": lambda: batch.seconds(detector),
                "bare": lambda: seconds_of(bare, device),
                "forward": lambda: seconds_of(forward, device),
            },
            options.rounds,
            options.most_seconds,
        )
        found.device_state = device_state(device)
        found.seconds, found.bare, found.forward = taken["detector"], taken["bare"], taken["forward"]
        return found


class Batch:
    """Items whose conditions are encoded, and what all batches of a seed share."""

    def __init__(self, bench: Bench, rows: Any) -> None:
        self._bench = bench
        self.items = items_of(rows, bench.sample_set, bench.model)
        self._dev = dev_items(bench.sample_set, rows["model"].unique(), bench.model)
        self._memory = SeedMemory()
        started = time.perf_counter()
        self.condition: Condition = bench.model.embed(self.items.conditions)
        synchronise(bench.model.device)
        self.embed_seconds = time.perf_counter() - started

    def score(self, *detectors: Detector) -> tuple[list[float], list[str], Cost, str]:
        """Score the batch by one detector after the other, sharing evaluations; what comes of the last."""
        bench = self._bench
        context = Context(bench.sample_set.protocol, bench.options.seed)
        probe = Probe(bench.model, self.items, context, memory=self._memory, dev=self._dev)
        for detector in detectors:
            result = score_items(bench.model, self.items, detector, probe)
        probe.forget()
        return result

    def seconds(self, *detectors: Detector) -> float:
        """Time of :meth:`score`."""
        return seconds_of(lambda: self.score(*detectors), self._bench.model.device)


@in_own_state
def bench(
    detectors: Sequence[Detector],
    sample_set: SampleSet,
    batch_sizes: Sequence[int],
    options: BenchOptions,
    *,
    model: str | None = None,
    progress: bool = False,
) -> list[Throughput]:
    """Measure detectors at batch sizes, one after the other.

    Args:
        detectors: What is measured.
        sample_set: Gives conditions and protocol.
        batch_sizes: Items at once.
        options: How.
        model: Name or directory; the sample set's own if not given.
        progress: Show a bar on standard error.

    Raises:
        UserError: The model cannot be loaded.
    """
    if options.memory:
        leave_if_starting()
    ready = Bench(sample_set, options, model)
    say({sample_set.id: cut_prompts(ready.model, ready.rows)})
    work = [(detector, size) for detector in detectors for size in batch_sizes]
    found = []
    for detector, size in tqdm(work, unit="detector", disable=not progress):
        row = ready.measure(detector, size)
        if options.memory and row.status == "ok":
            row.peak_memory = peak_of_process(
                options.device, score_alone, sample_set, detector, size, replace(options, memory=False), model
            )
        found.append(row)
    return found


@in_own_state
def score_alone(
    sample_set: SampleSet, detector: Detector, batch_size: int, options: BenchOptions, model: str | None
) -> None:
    """What a process does whose peak memory is taken: load, and score one batch twice."""
    keep_freed_memory()
    ready = Bench(sample_set, options, model)
    ready.prepare(batch_size)
    batch = ready.batch(batch_size)
    for _ in range(2):
        batch.score(detector)


@dataclass
class Compared:
    """Two arms, interleaved in one process.

    Attributes:
        first, second: Labels of detectors, or ``bare-forward``.
        model, device, dtype, batch_size, noise, accelerate: What both had.
        first_seconds, second_seconds: Of a batch, one a round.
    """

    first: str
    second: str
    model: str
    device: str
    dtype: str
    batch_size: int
    noise: str
    accelerate: str
    first_seconds: list[float]
    second_seconds: list[float]

    @property
    def ratio(self) -> Spread:
        """Time of the first over that of the second."""
        return ratio(self.first_seconds, self.second_seconds)


@in_own_state
def compare(
    first: Detector | None,
    second: Detector | None,
    sample_set: SampleSet,
    batch_size: int,
    options: BenchOptions,
    *,
    model: str | None = None,
) -> Compared:
    """Interleave two detectors in one process; None is one bare forward of the batch.

    Raises:
        UserError: The model cannot be loaded, or a detector does not apply to it.
    """
    ready = Bench(sample_set, options, model)
    ready.prepare(batch_size)
    batch = ready.batch(batch_size)
    bare = replay([Call("forward", batch_size)], ready.model, batch.condition)
    arms: dict[str, Callable[[], float]] = {}
    for place, detector in (("first", first), ("second", second)):
        if detector is None:
            arms[place] = lambda: seconds_of(bare, ready.model.device)
            continue
        _, statuses, _, message = batch.score(detector)
        if "ok" not in statuses:
            raise UserError(f"{detector.label} on {ready.model.name}: {statuses[0]}: {message}")
        arms[place] = partial(batch.seconds, detector)
    for call in arms.values():
        warm_up(call)
    taken = interleave(arms, options.rounds, options.most_seconds)
    return Compared(
        first=first.label if first else BARE_FORWARD,
        second=second.label if second else BARE_FORWARD,
        model=ready.model.name,
        device=str(ready.model.device),
        dtype=str(ready.model.dtype).removeprefix("torch."),
        batch_size=batch_size,
        noise=ready.sample_set.protocol.noise,
        accelerate=options.accelerate,
        first_seconds=taken["first"],
        second_seconds=taken["second"],
    )
