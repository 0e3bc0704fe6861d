"""Numerical audit: products and scores in each precision, attention kernel and backend, against float64."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, cast

import pandas as pd
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from memdet.curvature import Backend
from memdet.detectors import Detector
from memdet.errors import NotApplicableError, UserError
from memdet.models import ScoreModel, WrappedModel, load_model
from memdet.models.condition import Condition
from memdet.probing import Context, Items, Policy, Probe, SeedMemory
from memdet.probing.from_sample_set import dev_items, items_of
from memdet.running.batch_size import ELEMENTS_ON_CPU, LARGEST_BATCH
from memdet.running.remarks import cut_prompts, say
from memdet.running.scoring import score_items
from memdet.samplesets import SampleSet
from memdet.torch_state import in_own_state

KERNELS = {
    "math": SDPBackend.MATH,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
}
DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
}
BACKENDS: tuple[Backend, ...] = ("jvp", "vjp", "fd", "fd-one-sided")
JACOBIANS = ("J_c", "J_D")
NO_PRODUCTS = "-"  # backend of a detector that asks for none

Status = Literal["ok", "nonfinite", "not-applicable", "error"]
_Place = tuple[int, Tensor]
_Products = dict[tuple[str, int], Tensor]


@dataclass
class Deviation:
    """One quantity in one combination, over all items.

    Attributes:
        subject: ``J_c`` or ``J_D`` for a product, else the label of a detector.
        t: Timestep of a product; None for a detector, which has its own.
        dtype, attention, backend: The combination; attention is what holds outside forward AD.
        errors: Relative error of each item's product, ``norm(p - p64) / norm(p64)``.
        scores, reference: Scores in the combination and in float64, one an item.
        status: ``ok``, or what came of it: ``nonfinite``, ``not-applicable`` (cannot run here), ``error``.
        message: Why, empty if all is well.
    """

    subject: str
    t: int | None
    dtype: str
    attention: str
    backend: str
    errors: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    reference: list[float] = field(default_factory=list)
    status: Status = "ok"
    message: str = ""


@dataclass(frozen=True)
class Audit:
    """All measurements, and the circumstances.

    Attributes:
        model, sample_set, seed, device, threads, torch: What was measured, where and with what.
        labels: 1 memorized, 0 not, one an item.
        timesteps: Of the products: the first, and the middle of the trajectory.
        measured: Products first within a combination, then detectors.
    """

    model: str
    sample_set: str
    seed: int
    device: str
    threads: int
    torch: str
    labels: list[int]
    timesteps: list[int]
    measured: list[Deviation]


class ForcedProbe(Probe):
    """A probe whose Jacobian products come from one backend, whatever a detector asks for."""

    backend: Backend = "jvp"
    asked = False

    def jacobian_product(
        self, x: Tensor, t: int, branch: Literal["cond", "null"], v: Tensor, backend: Backend = "jvp"
    ) -> Tensor:
        """``J v``, or ``J^T v`` if the forced backend is ``vjp``, ``[batch, *latent_shape]``."""
        self.asked = True
        return super().jacobian_product(x, t, branch, v, self.backend)

    def both_products(self, x: Tensor, t: int, v: Tensor, backend: Backend = "jvp") -> tuple[Tensor, Tensor]:
        """:meth:`jacobian_product` of either branch."""
        self.asked = True
        return super().both_products(x, t, v, self.backend)


class _FreeTextEncoder(WrappedModel):
    """The model, with conditions encoded by whatever kernel torch picks: text masks rule some kernels out."""

    def embed(self, conditions: Sequence[str]) -> Condition:
        with sdpa_kernel(list(KERNELS.values())):
            return self.inner.embed(conditions)

    def embed_null(self) -> Condition:
        with sdpa_kernel(list(KERNELS.values())):
            return self.inner.embed_null()


@dataclass(frozen=True)
class _Reference:
    """float64 answers for one batch."""

    places: list[_Place]
    products: dict[Backend, _Products]
    scores: dict[tuple[str, str], list[float]]


@dataclass(frozen=True)
class AuditOptions:
    """What is compared.

    Attributes:
        items: How many, half of them memorized where there are enough.
        seed: Of the noise.
        dtypes, kernels: Names from ``DTYPES`` and ``KERNELS``.
        device: Where the models compute.
    """

    items: int = 48
    seed: int = 0
    dtypes: Sequence[str] = ("float32", "bfloat16", "float16")
    kernels: Sequence[str] = tuple(KERNELS)
    device: str = "cpu"


@in_own_state
def audit(
    sample_set: SampleSet,
    detectors: Sequence[Detector],
    options: AuditOptions | None = None,
    *,
    model: str | None = None,
    progress: bool = False,
) -> Audit:
    """Compare each dtype, attention kernel and backend with float64 on one model.

    Noise and probe vectors are drawn once in float32 and cast, the state at the middle timestep is the float64
    trajectory's, so what is measured is the rounding of inputs, weights and arithmetic. ``J v`` and ``J^T v`` are other
    vectors where J is not symmetric: each is held against itself in float64.

    Args:
        sample_set: Its test items, and its protocol.
        detectors: Scored with every backend in place of their own; one that asks for no product is scored once.
        options: What is compared.
        model: Instead of the sample set's own.
        progress: Show a bar on standard error, where that is a terminal.

    Raises:
        UserError: No model, a model that cannot be loaded or does not know the conditions, a control among the
            detectors, a detector that fails in float64, or a Jacobian that fails its self-check in float64.
    """
    options = options or AuditOptions()
    name = model or sample_set.model
    if name is None:
        raise UserError(f"sample set {sample_set.id} names no model: give `model`", parameters=("model",))
    for detector in detectors:
        if detector.info.is_control:
            raise UserError(f"detector {detector.label} is a control, which never calls the model: leave it out")
    exact = _FreeTextEncoder(load_model(name, device=options.device, dtype=torch.float64))
    frame = _balanced(sample_set.items, options.items)
    exact.embed(frame["condition"].tolist())  # a condition that the model does not know ends here
    say({sample_set.id: cut_prompts(exact, frame)})
    batches = _batches(sample_set, frame, exact, options.seed, checks=True)
    references = [_reference(probe, part, detectors) for part, probe in batches]
    table: dict[Hashable, Deviation] = {}
    for found in _deviations(name, sample_set, frame, detectors, references, options, progress):
        _join(table, found)
    return Audit(
        model=name,
        sample_set=sample_set.id,
        seed=options.seed,
        device=torch.cuda.get_device_name(options.device) if options.device.startswith("cuda") else options.device,
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        labels=frame["label"].tolist(),
        timesteps=[t for t, _ in references[0].places],
        measured=list(table.values()),
    )


def _deviations(
    name: str,
    sample_set: SampleSet,
    frame: pd.DataFrame,
    detectors: Sequence[Detector],
    references: Sequence[_Reference],
    options: AuditOptions,
    progress: bool,
) -> Iterator[Deviation]:
    """Of each dtype, kernel and batch from its reference."""
    combinations = [(dtype, kernel) for dtype in options.dtypes for kernel in options.kernels]
    narrow: ScoreModel | None = None
    bar = tqdm(combinations, unit="combination", disable=None if progress else True)
    for dtype, kernel in bar:
        bar.set_description(f"{dtype} {kernel}")
        if narrow is None or kernel == options.kernels[0]:
            narrow = _FreeTextEncoder(load_model(name, device=options.device, dtype=DTYPES[dtype]))
        with warnings.catch_warnings(), sdpa_kernel(KERNELS[kernel]):
            warnings.simplefilter("ignore")  # torch tells at length why a kernel cannot be had
            obstacle = _obstacle(narrow, dtype)
            batches = _batches(sample_set, frame, narrow, options.seed)
            for reference, (part, probe) in zip(references, batches, strict=True):
                yield from _compare(probe, part, detectors, reference, dtype, kernel, obstacle)


def _reference(probe: ForcedProbe, items: Items, detectors: Sequence[Detector]) -> _Reference:
    """Exact products of either kind, and scores with them."""
    middle = probe.timesteps[len(probe.timesteps) // 2]
    places = [(probe.timesteps[0], probe.noise), (middle, probe.at(middle)[0])]
    products: dict[Backend, _Products] = {}
    scores: dict[tuple[str, str], list[float]] = {}
    with sdpa_kernel(SDPBackend.MATH):
        for backend in ("jvp", "vjp"):
            try:
                products[backend] = _products(probe, places, backend)
            except (ValueError, RuntimeError) as error:
                raise UserError(f"{probe.model.name} has no reference in float64: {error}") from None
            for detector in detectors:
                probe.asked = False
                values, statuses, _, message = score_items(probe.model, items, detector, probe)
                if set(statuses) != {"ok"}:
                    raise UserError(f"detector {detector.label} fails in float64 on {probe.model.name}: {message}")
                scores[detector.label, backend if probe.asked else NO_PRODUCTS] = values
    return _Reference(places, products, scores)


def _compare(
    probe: ForcedProbe,
    items: Items,
    detectors: Sequence[Detector],
    reference: _Reference,
    dtype: str,
    kernel: str,
    obstacle: str,
) -> Iterator[Deviation]:
    """All measurements of one batch, dtype and kernel."""
    for backend in BACKENDS:
        exact: Backend = "vjp" if backend == "vjp" else "jvp"
        if backend != "jvp" or kernel == "math":  # forward AD would only repeat itself under another kernel
            result = _attempt(partial(_products, probe, reference.places, backend), obstacle)
            for (jacobian, t), wanted in reference.products[exact].items():
                found = Deviation(jacobian, t, dtype, kernel, backend, status=result.status, message=result.message)
                if result.products is not None:
                    error = _norm(result.products[jacobian, t] - wanted) / _norm(wanted).clamp_min(1e-300)
                    found.errors = error.tolist()
                    if not all(map(math.isfinite, found.errors)):
                        found.status, found.message = "nonfinite", "a product is not finite"
                yield found
        probe.backend = backend
        for detector in detectors:
            free = (detector.label, NO_PRODUCTS) in reference.scores
            if free and backend != BACKENDS[0]:
                continue
            shown = NO_PRODUCTS if free else backend
            wanted_scores = reference.scores[detector.label, NO_PRODUCTS if free else exact]
            found = Deviation(detector.label, None, dtype, kernel, shown, reference=wanted_scores)
            if obstacle:
                found.status, found.message = "not-applicable", obstacle
            else:
                found.scores, statuses, _, found.message = score_items(probe.model, items, detector, probe)
                found.status = cast("Status", next((s for s in statuses if s != "ok"), "ok"))
            yield found


def _products(probe: ForcedProbe, places: Sequence[_Place], backend: Backend) -> _Products:
    """Products of ``J_c`` and of ``J_D = J_c - J_u`` with one Rademacher vector at every place, in float64."""
    probe.backend = backend
    (v,) = probe.directions(1)
    products = {}
    for index, (t, state) in enumerate(places):
        x = probe.noise if index == 0 else state.to(probe.model.dtype)
        first = probe.jacobian_product(x, t, "cond", v)
        products["J_c", t] = first.double()
        products["J_D", t] = (first - probe.jacobian_product(x, t, "null", v)).double()
    return products


@dataclass(frozen=True)
class _Attempt:
    products: _Products | None
    status: Status
    message: str


def _attempt(compute: Callable[[], _Products], obstacle: str) -> _Attempt:
    """Compute, or say why not."""
    if obstacle:
        return _Attempt(None, "not-applicable", obstacle)
    try:
        return _Attempt(compute(), "ok", "")
    except (NotImplementedError, NotApplicableError) as error:
        return _Attempt(None, "not-applicable", _line(error))
    except Exception as error:  # the audit goes on; the row says what happened
        return _Attempt(None, "error", _line(error))


def _obstacle(model: ScoreModel, dtype: str) -> str:
    """Why one forward cannot be had in this dtype and the kernel that is set; empty if it can."""
    if model.dtype != DTYPES[dtype]:
        return f"{model.name} computes in {str(model.dtype).removeprefix('torch.')} whatever is asked"
    condition = model.embed_null()
    x = torch.zeros(1, *model.latent_shape, device=model.device, dtype=model.dtype)
    try:
        with torch.no_grad():
            model.predict(x, model.schedule.timesteps(1)[0], condition)
    except RuntimeError as error:  # NotImplementedError among them
        return f"it does not run on {model.device.type}: {_line(error)}"
    return ""


def _batches(
    sample_set: SampleSet, frame: pd.DataFrame, model: ScoreModel, seed: int, *, checks: bool = False
) -> Iterator[tuple[Items, ForcedProbe]]:
    """Batches as probes. They check in float64 alone: elsewhere is measured what the self-check would refuse."""
    size = max(1, min(LARGEST_BATCH, ELEMENTS_ON_CPU // math.prod(model.latent_shape)))
    policy = Policy(self_check=checks, exact_in_half=False)
    context, memory = Context(sample_set.protocol, seed, len(frame), policy), SeedMemory()
    for start in range(0, len(frame), size):
        part = frame.iloc[start : start + size]
        items = items_of(part, sample_set, model)
        dev = dev_items(sample_set, part["model"].unique(), model)
        yield items, ForcedProbe(model, items, context, memory=memory, dev=dev)


def _balanced(items: pd.DataFrame, count: int) -> pd.DataFrame:
    """The first test items of either label, half of each where there are enough, in the order of the set."""
    test = items[items["split"] == "test"]
    positive, negative = (test[test["label"] == label] for label in (1, 0))
    few = min(len(positive), count // 2)
    return pd.concat([positive.head(max(few, count - len(negative))), negative.head(count - few)]).sort_index()


def _join(table: dict[Hashable, Deviation], found: Deviation) -> None:
    """Add the items of another batch; the first thing that went wrong stays."""
    key = (found.subject, found.t, found.dtype, found.attention, found.backend)
    known = table.setdefault(key, found)
    if known is found:
        return
    known.errors += found.errors
    known.scores += found.scores
    known.reference = known.reference + found.reference
    if known.status == "ok":
        known.status, known.message = found.status, found.message


def _norm(a: Tensor) -> Tensor:
    norm: Tensor = a.flatten(1).norm(dim=1)
    return norm


def _line(error: Exception) -> str:
    first = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {first.partition('. ')[0]}"
