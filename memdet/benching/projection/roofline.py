"""Projects what detectors cost on a model that is given by its configuration alone. Nothing is measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from memdet.benching.projection.devices import Device
from memdet.benching.projection.op_trace import UNITS, Trace, Unit, trace
from memdet.benching.projection.unet import MetaUNet, UNetConfig, build_unet
from memdet.curvature.products import resolves_differences
from memdet.detectors import Detector
from memdet.detectors.base import TOLERANCE_OF_DIFFERENCES
from memdet.detectors.cost import cost_of, named_options
from memdet.errors import NotApplicableError, UserError
from memdet.models import Condition, ScoreModel, load_model
from memdet.models.wrapped import WrappedModel
from memdet.probing import Context, Policy, Probe
from memdet.probing.context import DEFAULT_PROTOCOL
from memdet.probing.from_sample_set import items_of
from memdet.samplesets import load_sample_set
from memdet.torch_state import in_own_state

LARGEST_BATCH = 32  # of --batch-size auto
TRACED = 2  # rows; with one, tensors would be contiguous that are copied otherwise
_COUNTED_ON = "oracle-16k"
_TRAINED_TIMES = 1_000


class _Rounded(WrappedModel):
    """A closed form, which computes in float64, between inputs and outputs of another dtype."""

    def __init__(self, inner: ScoreModel, dtype: torch.dtype) -> None:
        super().__init__(inner)
        self.dtype = dtype

    def predict(self, x: Tensor, t: int, condition: Condition) -> Tensor:
        """One forward."""
        return self.inner.predict(x.to(self.inner.dtype), t, condition).to(x.dtype)


@dataclass(frozen=True)
class Projection:
    """What one detector would cost per item and seed.

    Attributes:
        detector: Its label.
        evaluations: Of the network, by unit, per item and seed, with noise of its own.
        batch: Rows of a network call, items times the branches that one call takes.
        flops: Per item.
        seconds: Per item, at least; None where it does not fit.
        memory: Bytes at the batch, weights included.
    """

    detector: str
    evaluations: Mapping[str, float]
    batch: int
    flops: float
    seconds: float | None
    memory: float


@dataclass(frozen=True)
class Plan:
    """A model on a device.

    Attributes:
        model: Its name.
        latent_shape: Of one row.
        tokens: Of the text; None where the model takes none.
        parameters: Of the UNet.
        weights: Bytes of them.
        device_name, device: Where.
        precision: Of weights and activations.
        steps: T of the cost formulas.
        traces: What ``TRACED`` rows do, by unit.
        projections: Of detectors, cheapest first.
    """

    model: str
    latent_shape: tuple[int, ...]
    tokens: int | None
    parameters: int
    weights: int
    device_name: str
    device: Device
    precision: str
    steps: int
    traces: Mapping[Unit, Trace]
    projections: Sequence[Projection]

    def flops(self, unit: Unit) -> float:
        """Of one row."""
        return self.traces[unit].flops / TRACED

    def bytes_moved(self, unit: Unit, batch: int) -> float:
        """Of one call."""
        fixed = sum(operator.fixed_bytes for operator in self.traces[unit].operators)
        return fixed + batch * (self.traces[unit].bytes_moved - fixed) / TRACED

    def row_memory(self, unit: Unit) -> float:
        """Bytes of the intermediate tensors of one row."""
        return self.traces[unit].peak_bytes / TRACED

    def memory(self, unit: Unit, batch: int) -> float:
        """Bytes of weights and intermediate tensors."""
        return self.weights + batch * self.row_memory(unit)

    def largest_batch(self, unit: Unit) -> int:
        """Rows that fit into the device's memory; 0 where not even one does."""
        return max(0, int((self.device.memory - self.weights) // self.row_memory(unit)))

    def fitting_batch(self, units: Iterable[Unit]) -> int:
        """Largest power of two up to ``LARGEST_BATCH`` at which all units fit; 0 where not even one row does."""
        most = min(LARGEST_BATCH, *(self.largest_batch(unit) for unit in units))
        return 1 << (most.bit_length() - 1) if most else 0

    def time(self, unit: Unit, batch: int) -> Time:
        """Of one call."""
        return roofline(self.traces[unit], batch, self.device, self.precision)


@dataclass(frozen=True)
class Time:
    """Of one network call at a device's peaks.

    Attributes:
        seconds: Of all operators, one after the other.
        moving: Seconds of those that wait for memory rather than for arithmetic.
    """

    seconds: float
    moving: float


def roofline(traced: Trace, batch: int, device: Device, precision: str) -> Time:
    """Time of a batch: of each operator that of its FLOPs or of its bytes, whichever is more.

    Args:
        traced: Of any number of rows.
        batch: Rows whose time is wanted.
        device: Whose peaks hold.
        precision: Of matrix products.
    """
    computing = moving = 0.0
    scale = batch / traced.rows
    for operator in traced.operators:
        arithmetic = scale * (operator.flops or 0) / device.flops[precision]
        memory = (operator.fixed_bytes + scale * operator.row_bytes) / device.bandwidth
        if arithmetic >= memory:
            computing += arithmetic
        else:
            moving += memory
    return Time(computing + moving, moving)


@in_own_state
def plan(
    config: UNetConfig,
    detectors: Sequence[Detector],
    device_name: str,
    device: Device,
    precision: str,
    *,
    batch: int | None = None,
    size: int | None = None,
    steps: int = 50,
) -> Plan:
    """Count a model's evaluations and project its detectors.

    Args:
        config: Of the UNet.
        detectors: To project.
        device_name, device: Where.
        precision: Of weights and activations; ``tf32`` is float32 whose matrix products take tensor cores.
        batch: Rows of a network call; None takes the largest power of two up to ``LARGEST_BATCH`` that fits.
        size: Height and width of the latents; None takes the configuration's.
        steps: Of the protocol's trajectory.

    Raises:
        UserError: A UNet that cannot be built, or a detector whose cost is not known.
    """
    dtype = torch.float32 if precision == "tf32" else getattr(torch, precision)
    evaluations = {detector.label: evaluations_of(detector, steps, dtype) for detector in detectors}
    unet = build_unet(config, dtype, batch=TRACED, size=size)
    needed = [unit for unit in UNITS if unit == "F" or any(cost[unit] for cost in evaluations.values())]
    made = Plan(
        model=config.name,
        latent_shape=tuple(unet.x.shape[1:]),
        tokens=config.tokens if "cross_attention_dim" in unet.network.config else None,
        parameters=unet.parameters,
        weights=unet.weight_bytes,
        device_name=device_name,
        device=device,
        precision=precision,
        steps=steps,
        traces={unit: _traced(unet, unit, config) for unit in needed},
        projections=[],
    )
    projections = [_project(made, label, cost, batch) for label, cost in evaluations.items()]
    projections.sort(key=lambda one: (one.seconds is None, one.seconds or one.flops))
    return replace(made, projections=projections)


def evaluations_of(detector: Detector, steps: int, dtype: torch.dtype = torch.float32) -> dict[str, float]:
    """Evaluations per item and seed, by unit.

    The declared formula holds for the default options and for those that it names. Other variants, and in half
    precision those of finite differences, are counted where an evaluation takes no time: on a closed form.

    Raises:
        UserError: A control, or a variant that cannot be counted.
    """
    if detector.info.is_control:
        raise UserError(f"{detector.info.name} is a control: it never calls the model, so there is nothing to plan")
    changed = [name for name in detector.option_types() if getattr(detector, name) != getattr(type(detector), name)]
    replaced = detector.tolerance >= TOLERANCE_OF_DIFFERENCES and not resolves_differences(dtype)
    if named_options(detector.info.cost).issuperset(changed) and not replaced:
        timesteps = [1 + index * (_TRAINED_TIMES // steps) for index in range(steps)][::-1]
        return cost_of(detector, timesteps)
    sample_set = load_sample_set(_COUNTED_ON)
    model, table = load_model(_COUNTED_ON), sample_set.items
    model = _Rounded(model, dtype) if replaced else model
    items, dev = (
        items_of(table[table["split"] == split].groupby("label").head(1), sample_set, model)
        for split in ("test", "dev")
    )
    protocol = DEFAULT_PROTOCOL.model_copy(update={"steps": steps, "noise": "per-item"})
    probe = Probe(model, items, Context(protocol, policy=Policy(self_check=False)), dev=dev)
    with probe.charge() as cost:
        try:
            detector.score(probe)
        except NotApplicableError as error:
            raise UserError(
                f"the declared cost of {detector.info.name} ({detector.info.cost}) does not name {', '.join(changed)}, "
                f"and {_COUNTED_ON}, on which variants are counted, does not serve it: {error}"
            ) from None
    return {"F": cost.forwards, "JVP": cost.jvps, "VJP": cost.vjps}


def _traced(unet: MetaUNet, unit: Unit, config: UNetConfig) -> Trace:
    try:
        return trace(unet.function, unet.x, unit, unet.network.parameters())
    except RuntimeError as error:  # an operator that lacks the derivative, or shapes that the meta device alone refuses
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{config.source}: {unit} of this UNet cannot be counted: {reason}") from error


def _project(made: Plan, label: str, cost: Mapping[str, float], batch: int | None) -> Projection:
    used = [unit for unit in UNITS if cost[unit]]
    rows = batch or made.fitting_batch(used) or 1
    fits = all(rows <= made.largest_batch(unit) for unit in used)
    return Projection(
        detector=label,
        evaluations=cost,
        batch=rows,
        flops=sum(cost[unit] * made.flops(unit) for unit in used),
        seconds=sum(cost[unit] * made.time(unit, rows).seconds / rows for unit in used) if fits else None,
        memory=max(made.memory(unit, rows) for unit in used),
    )
