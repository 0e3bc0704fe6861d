"""What the claims of Jeon, Kim and No (arXiv 2412.04140) are judged by, measured on one model of a world."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from memdet.curvature import JacobianOperator, eigenvalues, jacobian_matrix
from memdet.errors import NotApplicableError, UserError
from memdet.models import Condition, ScoreModel
from memdet.models.prediction_type import eps_from_output
from memdet.probing import Context, Probe, SeedMemory
from memdet.probing.from_sample_set import tested_by
from memdet.probing.jacobians import LARGEST_MATRIX
from memdet.samplesets import SampleSet
from studies.seed_paper.measure import Json, context_of, first_items, identities, probe_of, rounded, settings_of, slices

LATE = 201  # where the document looks at tiny-sd-a
FEWEST_TIMES = 3  # the first step, LATE, the last step
DIGITS = 9  # near pure noise items differ in the fifth digit of an eigenvalue


@dataclass(frozen=True)
class Extent:
    """How much is measured.

    Attributes:
        items: Of each label.
        times: At which spectra are taken: the first step, some spaced evenly to ``LATE``, and the last step.
        seed: Of the noise.
    """

    items: int
    times: int = FEWEST_TIMES
    seed: int = 0


@dataclass(frozen=True)
class Linearised:
    """The score and its Jacobian at some points, in float64.

    Attributes:
        score: Times sigma, ``[batch, d]``.
        jacobian: Times sigma^2, ``[batch, d, d]``.
    """

    score: Tensor
    jacobian: Tensor

    def minus(self, other: Linearised) -> Linearised:
        """The difference of two branches; of ``other`` one point stands for all."""
        return Linearised(self.score - other.score, self.jacobian - other.jacobian)


@dataclass(frozen=True)
class Steps:
    """Steps of a trajectory at which a model is looked at.

    Attributes:
        indices: Of the steps, ascending.
        first, late, last: Those at which claims are posed.
    """

    indices: Sequence[int]
    first: int
    late: int
    last: int

    @classmethod
    def of(cls, model: ScoreModel, steps: int, times: int) -> Steps:
        """Of trajectories of so many steps. Where the first step is pure noise, the second one is the first.

        Args:
            model: Its schedule says what is pure noise.
            steps: Of a trajectory.
            times: From ``FEWEST_TIMES``.
        """
        timesteps = model.schedule.timesteps(steps)
        last = len(timesteps) - 1
        first = int(last > 0 and model.schedule.is_pure_noise(timesteps[0]))
        late = max(first, min(range(last + 1), key=lambda index: abs(timesteps[index] - LATE)))
        spaced = {round(index) for index in np.linspace(first, late, times - 1)}
        return cls(sorted(spaced | {last}), first, late, last)


def measure_model(
    model: ScoreModel, sample_set: SampleSet, extent: Extent, advance: Callable[[], object] = object
) -> Json:
    """Whole spectra of S_c, S_u and S_D at some times, norms of the first step, and both sides of the identities.

    Spectra and norms are taken on the unguided conditional trajectory under the noise of the sample set; the
    identities, which are about means over x, under a draw of its own for each item.

    Args:
        model: With a null branch.
        sample_set: Its first test items of that model are taken, and its protocol.
        extent: How much.
        advance: Called after each whole Jacobian of a batch.

    Raises:
        UserError: A model without a null branch, or of more than 4,096 dimensions.
    """
    null, protocol, seed = _null(model), sample_set.protocol, extent.seed
    steps = Steps.of(model, protocol.steps, extent.times)
    frame = first_items(tested_by(model, sample_set), extent.items)
    shared, own = Context(protocol, seed), context_of(seed, steps=protocol.steps, guidance=protocol.guidance)
    memories = SeedMemory(), SeedMemory()
    found: dict[str, list[Json]] = {}
    for part in slices(len(frame)):
        chosen = frame.iloc[part]
        ids, conditions, labels = (chosen[name].tolist() for name in ("item_id", "condition", "label"))
        cond = model.embed(conditions)
        for context, memory, measure in zip((shared, own), memories, (_spectra_and_norms, _identities), strict=True):
            probe = probe_of(model, ids, conditions, labels, context, memory)
            for key, values in measure(probe, steps, (cond, null), advance).items():
                found.setdefault(key, []).append(values)
    joined = {key: _joined(parts) for key, parts in found.items()}
    timesteps = model.schedule.timesteps(protocol.steps)
    data: Json = {
        "labels": frame["label"].tolist(),
        "clusters": frame["cluster"].tolist(),
        "t": {name: timesteps[getattr(steps, name)] for name in ("first", "late", "last")} | {"start": timesteps[0]},
        "norms": joined.pop("norms"),
        "places": [_level(model, timesteps[index]) | joined[f"spectra-{index}"] for index in steps.indices],
        "identities": [
            {"t": timesteps[index]} | joined[f"identities-{index}"] for index in sorted({steps.first, steps.late})
        ],
    }
    described = {"prediction_type": model.prediction_type, "d": int(np.prod(model.latent_shape))}
    about = {"sample_set": sample_set.id, "version": sample_set.version, "steps": protocol.steps}
    return {"settings": settings_of(model, seed, **about, noise=protocol.noise, **described), "data": data}


def jacobians(extent: Extent) -> int:
    """Whole Jacobians of batches that :func:`measure_model` takes, where no two times are one."""
    return len(list(slices(2 * extent.items))) * (2 * extent.times + 2)


def linearised(model: ScoreModel, x: Tensor, t: int, condition: Condition) -> Linearised:
    """The score and its whole Jacobian, from those of the network's output, of which the noise is a linear function.

    Whatever the network predicts, ``eps = a output + b x`` with numbers a and b of the time. They enter in float64, so
    that near pure noise what the network says is not lost beside ``b x``.

    Args:
        model: Its schedule and prediction type give a and b.
        x: ``[batch, *latent_shape]``.
        t: Timestep.
        condition: A row an item, or one row for all.
    """
    alpha, sigma = model.schedule.alpha(t), model.schedule.sigma(t)
    one, zero = torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    a, b = (
        float(eps_from_output(output, noisy, alpha, sigma, model.prediction_type))
        for output, noisy in ((one, zero), (zero, one))
    )
    points, told = x.contiguous(), condition.expand(len(x))
    operator = JacobianOperator(lambda z: model.predict(z, t, told), points, "vjp")
    jacobian = jacobian_matrix(operator.rmv, points).transpose(1, 2).double()
    eps = a * operator.value.double().flatten(1) + b * points.double().flatten(1)
    unit = torch.eye(jacobian.shape[1], dtype=torch.float64, device=jacobian.device)
    return Linearised(-eps, -sigma * (a * jacobian + b * unit))


def _null(model: ScoreModel) -> Condition:
    if (d := int(np.prod(model.latent_shape))) > LARGEST_MATRIX:
        raise UserError(f"{model.name} has {d:,} dimensions; whole Jacobians are taken up to {LARGEST_MATRIX:,}")
    try:
        return model.embed_null()
    except NotApplicableError:
        raise UserError(f"{model.name} has no null branch, which the claims compare the condition with") from None


Branches = tuple[Condition, Condition]


def _spectra_and_norms(
    probe: Probe, steps: Steps, branches: Branches, advance: Callable[[], object]
) -> dict[str, dict[str, Tensor]]:
    """Of a batch, ``spectra-INDEX`` of each step, and ``norms``."""
    model, (conditional, null) = probe.model, branches
    path = probe.trajectory(guidance=1.0)
    difference = probe.difference(path.state(0), path.timesteps[0]).double().flatten(1)
    found: dict[str, dict[str, Tensor]] = {}
    for index in steps.indices:
        x, t = path.state(index), path.timesteps[index]
        cond = linearised(model, x, t, conditional)
        advance()
        at_once = x[:1] if x.stride(0) == 0 else x  # all items may start at one place, where the null branch is one
        null_there = linearised(model, at_once, t, null)
        advance()
        gap = cond.minus(null_there)
        spectrum = eigenvalues(cond.jacobian)
        found[f"spectra-{index}"] = {
            "smallest": spectrum[:, 0],
            "smallest_null": eigenvalues(null_there.jacobian)[:, 0].expand(len(x)),
            "smallest_gap": eigenvalues(gap.jacobian)[:, 0],
            "positive": (spectrum > 0).sum(dim=1),
        }
        if index == steps.first:
            product = torch.einsum("bij,bj->bi", gap.jacobian, gap.score)
            found["norms"] = {"difference": difference.norm(dim=1), "hessian": product.norm(dim=1)}
    return found


def _identities(
    probe: Probe, steps: Steps, branches: Branches, advance: Callable[[], object]
) -> dict[str, dict[str, Tensor]]:
    """Of a batch, ``identities-INDEX`` of the first and the late step."""
    path, found = probe.trajectory(guidance=1.0), {}
    for index in sorted({steps.first, steps.late}):
        there = linearised(probe.model, path.state(index), path.timesteps[index], branches[0])
        found[f"identities-{index}"] = identities(there.jacobian, there.score)
        advance()
    return found


def _joined(parts: Sequence[dict[str, Tensor]]) -> Json:
    joined = {key: torch.cat([values[key] for values in parts]).cpu().numpy() for key in parts[0]}
    return {key: values.tolist() if key == "positive" else rounded(values, DIGITS) for key, values in joined.items()}


def _level(model: ScoreModel, t: int) -> Json:
    return {"t": t, "alpha": rounded(model.schedule.alpha(t)), "sigma": rounded(model.schedule.sigma(t))}
