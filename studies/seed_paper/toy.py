"""Figure 1 of Jeon, Kim and No (arXiv 2412.04140): curvature along trajectories in the plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from memdet.errors import UserError
from memdet.metrics import auroc
from memdet.models import ClosedForm, ScoreModel
from studies.seed_paper.measure import GROUPS, Floats, Json, context_of, probe_of, quartiles, rounded, settings_of

STEPS = 100
TIGHT, BROAD = (-2.0, 0.0), (1.0, 0.0)  # the modes of the toy
RADIUS = 0.2  # of a trajectory's end from the tight mode; ten of its standard deviations
DRAWS_PER_ITEM = 20  # a twentieth of the toy's mass is in the tight mode
PATHS = 12  # of each group, drawn thinly
SEPARATES = 0.9  # AUROC from which two groups are said to be told apart

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Paths:
    """Trajectories of the null branch and the smallest eigenvalue along them, times sigma_t^2.

    Attributes:
        timesteps, sigmas: One a step.
        states: ``[STEPS + 1, draws, 2]``; the last is where a trajectory ends.
        learned, exact: ``[STEPS, draws]``; of the network, and of the closed form at the same points.
    """

    timesteps: Sequence[int]
    sigmas: Sequence[float]
    states: Tensor
    learned: Floats
    exact: Floats

    @property
    def curves(self) -> dict[str, Floats]:
        """Eigenvalues by their source."""
        return {"learned": self.learned, "exact": self.exact}


def measure_toy(model: ScoreModel, truth: ClosedForm, items: int, seed: int) -> Json:
    """Figure 1: smallest eigenvalue along trajectories of the null branch, beside the closed form at the same points.

    Args:
        model: In the plane; the tight mode at (-2, 0) and the broad one at (1, 0).
        truth: The closed form that it learned.
        items: Memorized trajectories that are expected; 20 times as many are drawn.
        seed: Of the noise.

    Raises:
        UserError: No trajectory ends in one of the modes.
    """
    draws = DRAWS_PER_ITEM * items
    paths = _follow(model, truth, draws, seed)
    ends = paths.states[-1]
    to_tight, to_broad = ((ends - ends.new_tensor(centre)).norm(dim=1).numpy() for centre in (TIGHT, BROAD))
    memorized = to_tight <= RADIUS
    if memorized.all() or not memorized.any():
        which = "the tight mode" if not memorized.any() else "the broad mode"
        raise UserError(
            f"none of {draws} trajectories of {model.name} ends in {which}: raise `items` or change `seed`",
            parameters=("items", "seed"),
        )
    chosen = {"memorized": memorized, "other": ~memorized}
    nearest = {"memorized": int(np.where(memorized, to_tight, np.inf).argmin()), "other": int(to_broad.argmin())}
    groups = {group: _of_group(paths, chosen[group], nearest[group]) for group in GROUPS}
    label = memorized.astype(int)
    areas = {name: [rounded(auroc(-row, label)) for row in values] for name, values in paths.curves.items()}
    settings = settings_of(model, seed, draws=draws, steps=STEPS, truth=truth.name)
    data = {"timesteps": paths.timesteps, "sigmas": rounded(paths.sigmas), "auroc": areas, "groups": groups}
    return {"settings": settings, "data": data, "numbers": _numbers(paths, chosen, groups, areas)}


def _follow(model: ScoreModel, truth: ClosedForm, draws: int, seed: int) -> Paths:
    names = [str(index) for index in range(draws)]
    context = context_of(seed, steps=STEPS, guidance=0.0)
    probe = probe_of(model, names, [_any_condition(model)] * draws, [0] * draws, context)
    path = probe.trajectory()
    states = [path.state(index) for index in range(STEPS + 1)]
    sigmas = [model.schedule.sigma(t) for t in probe.timesteps]
    null = truth.embed_null()
    learned = np.empty((STEPS, draws))
    exact = np.empty((STEPS, draws))
    for index, (t, sigma) in enumerate(zip(probe.timesteps, sigmas, strict=True)):
        learned[index] = probe.spectrum(states[index], t, "null")[:, 0].numpy() * sigma**2
        exact[index] = truth.exact_spectrum(states[index], t, null)[:, 0].numpy() * sigma**2
    return Paths(probe.timesteps, sigmas, torch.stack(states).double(), learned, exact)


def _of_group(paths: Paths, chosen: Mask, nearest: int) -> Json:
    """What is drawn of a group: its nearest trajectory, some others, and its eigenvalues."""
    states = paths.states.numpy()
    return {
        "count": int(chosen.sum()),
        "path": rounded(states[:, nearest]),
        "paths": [rounded(states[:, index]) for index in np.flatnonzero(chosen)[:PATHS]],
        **{name: quartiles(values[:, chosen].T) for name, values in paths.curves.items()},
    }


def _numbers(paths: Paths, chosen: dict[str, Mask], groups: Json, areas: dict[str, list[float]]) -> Json:
    """Counts, errors, when the groups part, and medians at the first and last step."""
    error = np.abs(paths.learned - paths.exact)
    numbers: Json = {
        "counts": {group: groups[group]["count"] for group in GROUPS},
        "separated_from": {name: _separated_from(values, paths.timesteps) for name, values in areas.items()},
        "median_error": {group: rounded(np.median(error[:, chosen[group]])) for group in GROUPS},
    }
    for place, index in (("first", 0), ("last", STEPS - 1)):
        numbers[place] = {"t": paths.timesteps[index]}
        for name in paths.curves:
            medians = {group: groups[group][name]["median"][index] for group in GROUPS}
            numbers[place][name] = {"auroc": areas[name][index], **medians}
    return numbers


def _any_condition(model: ScoreModel) -> str:
    """Any condition of a model of the plane; the null branch does not look at it."""
    conditions = getattr(model, "conditions", ("broad",))
    return str(conditions[0])


def _separated_from(areas: Sequence[float], timesteps: Sequence[int]) -> int | None:
    """The noisiest timestep from which the groups stay told apart to the end; None if they are not at the end."""
    first = None
    for area, t in zip(reversed(areas), reversed(timesteps), strict=True):
        if not area >= SEPARATES:
            break
        first = t
    return first
