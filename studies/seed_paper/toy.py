"""Figure 1 of Jeon, Kim and No (arXiv 2412.04140): curvature along trajectories in the plane."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from memdet.errors import UserError
from memdet.metrics import auroc
from memdet.models import ClosedForm, ScoreModel
from studies.seed_paper.measure import GROUPS, Json, probe_of, quartiles, rounded, settings_of

STEPS = 100
TIGHT, BROAD = (-2.0, 0.0), (1.0, 0.0)  # the modes of the toy
RADIUS = 0.2  # of a trajectory's end from the tight mode; ten of its standard deviations
DRAWS_PER_ITEM = 20  # a twentieth of the toy's mass is in the tight mode
PATHS = 12  # of each group, drawn thinly
SEPARATES = 0.9  # AUROC from which two groups are said to be told apart


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
    condition = _any_condition(model)
    names = [str(index) for index in range(draws)]
    probe = probe_of(model, names, [condition] * draws, [0] * draws, seed, STEPS, 0.0, "per-item")
    path = probe.trajectory()
    states = [path.state(index) for index in range(STEPS + 1)]
    sigmas = [model.schedule.sigma(t) for t in probe.timesteps]
    null = truth.embed_null()
    learned = np.empty((STEPS, draws))
    exact = np.empty((STEPS, draws))
    for index, (t, sigma) in enumerate(zip(probe.timesteps, sigmas, strict=True)):
        learned[index] = probe.spectrum(states[index], t, "null")[:, 0].numpy() * sigma**2
        exact[index] = truth.exact_spectrum(states[index], t, null)[:, 0].numpy() * sigma**2
    ends = states[-1].double()
    to_tight, to_broad = ((ends - ends.new_tensor(centre)).norm(dim=1) for centre in (TIGHT, BROAD))
    memorized = (to_tight <= RADIUS).numpy()
    if memorized.all() or not memorized.any():
        which = "the tight mode" if not memorized.any() else "the broad mode"
        raise UserError(f"none of {draws} trajectories of {model.name} ends in {which}: raise --items or change --seed")
    label = memorized.astype(int)
    ends_tight = torch.where(torch.from_numpy(memorized), to_tight, torch.inf)
    stacked = torch.stack(states).double().numpy()
    groups: Json = {}
    for group, chosen, nearest in (("memorized", memorized, ends_tight), ("other", ~memorized, to_broad)):
        groups[group] = {
            "count": int(chosen.sum()),
            "path": rounded(stacked[:, int(nearest.argmin())]),
            "paths": [rounded(stacked[:, index]) for index in np.flatnonzero(chosen)[:PATHS]],
            "learned": quartiles(learned[:, chosen].T),
            "exact": quartiles(exact[:, chosen].T),
        }
    areas = {
        name: [rounded(auroc(-row, label)) for row in values]
        for name, values in (("learned", learned), ("exact", exact))
    }
    error = np.abs(learned - exact)
    numbers: Json = {
        "counts": {group: groups[group]["count"] for group in GROUPS},
        "separated_from": {name: _separated_from(values, probe.timesteps) for name, values in areas.items()},
        "median_error": {
            group: rounded(np.median(error[:, chosen]))
            for group, chosen in (("memorized", memorized), ("other", ~memorized))
        },
    }
    for place, index in (("first", 0), ("last", STEPS - 1)):
        numbers[place] = {
            "t": probe.timesteps[index],
            **{
                name: {
                    "auroc": areas[name][index],
                    **{group: groups[group][name]["median"][index] for group in GROUPS},
                }
                for name in ("learned", "exact")
            },
        }
    settings = settings_of(model, seed, draws=draws, steps=STEPS, truth=truth.name)
    data = {"timesteps": probe.timesteps, "sigmas": rounded(sigmas), "auroc": areas, "groups": groups}
    return {"settings": settings, "data": data, "numbers": numbers}


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
