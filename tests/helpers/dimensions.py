"""Local intrinsic dimension a second time: one item of :mod:`tests.helpers.one_item`, matrices and plain loops."""

from __future__ import annotations

import numpy as np
import torch

from memdet.probing import draws


def clean(one):
    """The item's image, or the end of its guided trajectory."""
    return one.image if one.image is not None else one.states(one.guidance, len(one.timesteps))[-1]


def nearest(one, t):
    return min(one.timesteps, key=lambda candidate: abs(candidate - t))


def score(one, x, t, branch):
    return -one.eps(x, t, branch) / one.levels(t)[1]


def flipd(one, t, branch, probes=None):
    """By probe vectors and a central difference, or with the whole Jacobian, column by column."""
    t = nearest(one, t)
    alpha, sigma = one.levels(t)
    x, h, trace = alpha * clean(one), 1e-5, 0.0
    if probes is None:
        vectors = list(torch.eye(x.numel(), dtype=torch.float64).view(-1, *x.shape))
    else:
        vectors = [draws.rademacher(one.shape, one.seed, index).double() for index in range(probes)]
    for v in vectors:
        product = (score(one, x + h * v, t, branch) - score(one, x - h * v, t, branch)) / (2 * h)
        trace += float((v * product).sum()) / (1 if probes is None else probes)
    return x.numel() + sigma**2 * (trace + float((score(one, x, t, branch) ** 2).sum()))


def norms(one, t):
    """Of the score difference and of the conditional score, at a noisy copy."""
    t = nearest(one, t)
    x = one.levels(t)[0] * clean(one) + one.levels(t)[1] * one.noise()
    cond, null = (score(one, x, t, branch) for branch in ("cond", "null"))
    return float((cond - null).norm()), float(cond.norm())


def normal_bundle(one, count, t, branch="cond", threshold=None):
    alpha, sigma = one.levels(t)
    centre, rows = alpha * clean(one), []
    for index in range(count):
        noise = draws.gaussian(one.shape, one.seed, index).double()
        rows.append(score(one, centre + sigma * noise, t, branch).flatten().numpy())
    values = np.linalg.svd(np.array(rows), compute_uv=False)
    if threshold is not None:
        return len(rows[0]) - sum(value > threshold * np.sqrt(count) / sigma for value in values)
    gaps = [values[k] - values[k + 1] for k in range(len(values) - 1)]
    return len(rows[0]) - (gaps.index(max(gaps)) + 1)
