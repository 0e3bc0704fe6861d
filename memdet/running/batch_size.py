"""How many items are computed at once: by a rule, or by measurement within a memory budget."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from memdet.benching.projection.roofline import evaluations_of
from memdet.curvature import Backend, JacobianOperator
from memdet.detectors import Detector
from memdet.errors import NotApplicableError, UserError
from memdet.models import ClosedForm, ScoreModel
from memdet.models.device import synchronise
from memdet.probing.joining import joins_branches, joins_null_row, joins_products
from memdet.running.memory import free_memory, is_out_of_memory, peak_memory
from memdet.samplesets import SampleSet

if TYPE_CHECKING:
    from memdet.running.runner import RunOptions

ELEMENTS_PER_BATCH = 2**14  # latent numbers in an automatic batch of a network
ELEMENTS_OF_CLOSED_FORM = 2**18
LARGEST_BATCH = 512
SLACK = 0.05  # of the best throughput, given away for a smaller batch
FREE_SHARE = {"cuda": 0.8, "cpu": 0.5}  # of what is free, for a batch; the allocator and others need the rest
_ROUNDS, _SECONDS = (3, 20), 0.5  # of timing a batch: at least, at most, and enough of it


@dataclass(frozen=True)
class Needs:
    """What the detectors of a run ask of a model beside forwards.

    Attributes:
        jvp, vjp: Jacobian products in forward mode, and in reverse mode on a kept graph.
        attention: How many steps' cross-attention is held at a time.
        bottleneck: The activation of the middle block.
        decode: Images of latents.
    """

    jvp: bool = False
    vjp: bool = False
    attention: int = 0
    bottleneck: bool = False
    decode: bool = False


@dataclass(frozen=True)
class Measured:
    """One batch size.

    Attributes:
        batch_size: Items.
        seconds: Of a forward, an item.
        peak_bytes: Of the dearest that the detectors hold at a time, beside the weights.
    """

    batch_size: int
    seconds: float
    peak_bytes: int


def automatic_batch(model: ScoreModel) -> int:
    """How many items of a model are computed at once, by the size of a latent alone."""
    elements = ELEMENTS_OF_CLOSED_FORM if isinstance(model, ClosedForm) else ELEMENTS_PER_BATCH
    return max(1, min(LARGEST_BATCH, elements // math.prod(model.latent_shape)))


def batch_of(options: RunOptions, sample_set: str, model: ScoreModel) -> int:
    """Items at once of a sample set under options whose batch size is fixed."""
    if isinstance(options.batch_size, Mapping):
        return options.batch_size[sample_set]
    return options.batch_size if isinstance(options.batch_size, int) else automatic_batch(model)


def fix_batch_sizes(
    sample_sets: Sequence[SampleSet],
    detectors: Sequence[Detector],
    models: Mapping[str, ScoreModel],
    options: RunOptions,
    stored: Mapping[str, Any] | None = None,
) -> tuple[RunOptions, dict[str, Any]]:
    """Measure the batch size of every sample set where options ask for it.

    Args:
        sample_sets, detectors, models: Of the run.
        options: ``batch_size`` None is the rule on the CPU and a measurement elsewhere.
        stored: Manifest of the run that is continued: its batch sizes are taken, so that its shards fit.

    Returns:
        Options whose batch size needs no measurement, and what was measured, by sample set and model, for the manifest.

    Raises:
        UserError: Not even one item fits into the memory budget.
    """
    wanted = options.batch_size
    if isinstance(wanted, int | Mapping) or (wanted is None and torch.device(options.device).type == "cpu"):
        return options, {}
    known = {entry["id"]: entry["batch_size"] for entry in stored["settings"]["sample_sets"]} if stored else {}
    measured: dict[str, Any] = dict(stored.get("batch_sizes", {})) if stored else {}
    sizes: dict[str, int] = {}
    for sample_set in sample_sets:
        if sample_set.id in known:
            sizes[sample_set.id] = max(1, known[sample_set.id])
            continue
        needs = needs_of(detectors, sample_set.protocol.steps)
        tested = sample_set.items[sample_set.items["split"] == "test"]["model"].value_counts(sort=False)
        found = {
            str(name): measure(models[str(name)], needs, budget_of(options), limit=int(count))
            for name, count in tested.items()
            if needs is not None
        }
        sizes[sample_set.id] = min(map(choose, found.values()), default=LARGEST_BATCH)
        measured[sample_set.id] = {name: [asdict(row) for row in rows] for name, rows in found.items()}
    return replace(options, batch_size=sizes), measured


def budget_of(options: RunOptions) -> int:
    """Bytes that a batch may take beside the weights: as given, else a share of what is free now."""
    if options.memory_budget is not None:
        return int(options.memory_budget)
    device = torch.device(options.device)
    return int(FREE_SHARE.get(device.type, FREE_SHARE["cpu"]) * free_memory(device) / options.workers)


def needs_of(detectors: Sequence[Detector], steps: int) -> Needs | None:
    """What detectors ask of a model beside forwards; None where none of them asks a model for anything.

    Args:
        detectors: Configured.
        steps: Of the protocol's trajectory.
    """
    asking = [detector for detector in detectors if not detector.info.is_control]
    if not asking:
        return None
    needs = Needs()
    for detector in asking:
        backend = getattr(detector, "backend", None)
        needs = replace(needs, jvp=needs.jvp or backend == "jvp", vjp=needs.vjp or backend == "vjp")
        match detector.info.access:
            case "gradient":
                try:
                    cost = evaluations_of(detector, steps)
                except UserError:  # whatever it is, it is one of these
                    cost = {"JVP": 1.0, "VJP": 1.0}
                needs = replace(needs, jvp=needs.jvp or cost["JVP"] > 0, vjp=needs.vjp or cost["VJP"] > 0)
            case "attention":
                needs = replace(needs, attention=2 + steps // 5)  # first, last fifth, last
            case "activations":
                needs = replace(needs, bottleneck=True)
            case "samples" | "training-data":
                needs = replace(needs, decode=True)
    return needs


def measure(model: ScoreModel, needs: Needs, budget: int, *, limit: int = LARGEST_BATCH) -> list[Measured]:
    """Measure doubling batch sizes, up to the budget, the limit, or the size from which on nothing is gained.

    Args:
        model: Whose forwards are timed.
        needs: Of the detectors; the budget holds for the dearest of it.
        budget: Bytes beside the weights.
        limit: Largest batch size of use.

    Raises:
        UserError: Not even one item fits.
    """
    found: list[Measured] = []
    size, peak = 1, 0
    while size <= min(limit, LARGEST_BATCH) and 2 * peak <= budget and not _levelled(found):  # twice the rows, twice it
        evaluations = Evaluations(model, needs, size)
        try:
            peak = peak_memory(evaluations.dearest, model.device)
            if peak > budget:
                break
            found.append(Measured(size, _seconds(evaluations.forward, model.device) / size, peak))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            break
        finally:
            if model.device.type == "cuda":
                torch.cuda.empty_cache()
        size *= 2
    if not found:
        raise UserError(
            f"{model.name}: one item takes more than the memory budget of {budget / 1e9:.3g} GB beside the weights:"
            " raise --memory-budget, give --batch-size 1, or leave out detectors that take Jacobian products"
        )
    return found


def choose(measured: Sequence[Measured]) -> int:
    """The smallest batch size within ``SLACK`` of the best throughput.

    Example:
        >>> choose([Measured(1, 1.0, 1), Measured(2, 0.52, 2), Measured(4, 0.5, 4)])
        2
    """
    best = min(row.seconds for row in measured)
    return min(row.batch_size for row in measured if best >= (1 - SLACK) * row.seconds)


def _levelled(measured: Sequence[Measured]) -> bool:
    """Whether the last two doublings gained less than ``SLACK``."""
    seconds = [row.seconds for row in measured]
    return len(seconds) > 2 and min(seconds[-2:]) >= (1 - SLACK) * min(seconds[:-2])


class Evaluations:
    """A batch of a model at pure noise and the first timestep, and what detectors do there.

    Args:
        model: Asked.
        needs: Of the detectors.
        size: Items.
    """

    def __init__(self, model: ScoreModel, needs: Needs, size: int) -> None:
        self._model, self._needs = model, needs
        self._t = len(model.schedule.alphas) - 1
        generator = torch.Generator().manual_seed(0)
        self._x = torch.randn(size, *model.latent_shape, generator=generator).to(model.device, model.dtype)
        null = model.embed_null()
        self._embedding = null.repeat(size, *[1] * (null.ndim - 1))

    def forward(self, more: int = 0) -> Tensor:
        """Noise prediction of one branch, and of so many rows of the other in the same call."""
        x, embedding = self._rows(more)
        with torch.no_grad():
            return self._model.eps(x, self._t, embedding)

    def _operator(self, backend: Backend, more: int = 0) -> JacobianOperator:
        x, embedding = self._rows(more)
        return JacobianOperator(lambda z: self._model.score(z, self._t, embedding), x, backend, check=False)

    def _rows(self, more: int) -> tuple[Tensor, Tensor]:
        if not more:
            return self._x, self._embedding
        return torch.cat([self._x, self._x[:more]]), torch.cat([self._embedding, self._embedding[:more]])

    def dearest(self) -> None:
        """All that a probe can hold at a time: the graphs of both branches, and a product or recording beside them."""
        model, x, needs, n = self._model, self._x, self._needs, len(self._x)
        held: list[Any] = [self.forward(int(joins_null_row(model, n)))]
        if joins_branches(model, n):
            held.append(self.forward(n))
        for _ in range(2 if needs.vjp else 0):
            graph = self._operator("vjp")
            held += [graph, graph.rmv(x)]
        if needs.jvp:
            product = self._operator("jvp", n if joins_products(model, n) else 0)
            product.mv(product.x)
        if needs.bottleneck:
            with torch.no_grad(), suppress(NotApplicableError):
                held.append(model.bottleneck(x, self._t, self._embedding))
        if needs.attention:
            with torch.no_grad(), suppress(NotApplicableError):
                _, layers = model.attention(x, self._t, self._embedding)
                held += [layers, *(layer.weights.clone() for _ in range(needs.attention - 1) for layer in layers)]
        if needs.decode:
            with suppress(NotApplicableError):
                held.append(model.decode(x))


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """Shortest time of some work that is warm; what disturbs a time makes it longer."""
    times: list[float] = []
    while len(times) < _ROUNDS[0] or (len(times) < _ROUNDS[1] and sum(times) < _SECONDS):
        start = _now(device)
        work()
        times.append(_now(device) - start)
    return min(times)


def _now(device: torch.device) -> float:
    synchronise(device)
    return time.perf_counter()
