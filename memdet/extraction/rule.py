"""When a generation counts as a copy: stated before anything is counted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memdet.errors import UserError
from memdet.metrics import Interval
from memdet.metrics._bootstrap import LEVEL
from memdet.metrics._distributions import beta_ppf

NEIGHBOURS, ALPHA = 50, 0.5
"""Of the rule of Carlini et al. (2023)."""
FALSE_COPIES = 0.01  # share of generations from prompts that were never trained that may count as copies
AGREES = 0.5  # a prompt is labelled memorized where at least this share of its generations are copies
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Rule:
    """A generation counts as a copy where its ratio is below a threshold.

    The ratio is its distance to the nearest training image over its mean distance to the nearest ``neighbours`` of
    them, itself among them (the calibrated distance of Carlini et al., "Extracting Training Data from Diffusion
    Models", USENIX Security 2023, arXiv 2301.13188). A plain distance would find dull pictures, which are near to many.

    Attributes:
        kind: ``reference``: the threshold lets so small a share of the generations of reference prompts pass;
            ``ratio``: it is that of the paper, a rule and no measured rate.
        threshold: Ratios below it are copies.
        neighbours: Of the mean: 50, or all training images where there are fewer.
        training_images: Distinct ones.
        reference_generations, reference_prompts: Which set the threshold; 0 for ``ratio``.
        false_copies: Expected share of copies among generations of prompts like the reference, and where the realised
            share lies for 95 % of references of this size, the generations of one prompt taken for one draw; None for
            ``ratio``.
        alike: Share of training images that the rule takes for copies of another training image.
    """

    kind: Literal["reference", "ratio"]
    threshold: float
    neighbours: int
    training_images: int
    reference_generations: int
    reference_prompts: int
    false_copies: Interval | None
    alike: float


def neighbours_of(n: int) -> int:
    """Training images that the mean of the ratio takes, of ``n`` distinct ones.

    Raises:
        UserError: There is one alone, beside which nothing is near or far.
    """
    if n < 2:
        raise UserError(
            "`training_images` holds 1 distinct image, and a distance is judged beside those to others: name the whole "
            "folder of the training",
            parameters=("training_images",),
        )
    return min(NEIGHBOURS, n)


def ratios(distances: ArrayLike) -> Floats:
    """Distance to the nearest over the mean of all, of each row of distances ``[n, neighbours]``, nearest first.

    Where all are 0 the ratio is 0: the generation is a training image.

    Example:
        >>> ratios([[1.0, 3.0], [2.0, 2.0], [0.0, 0.0]]).tolist()
        [0.5, 1.0, 0.0]
    """
    rows = np.asarray(distances, dtype=np.float64)
    means = rows.mean(axis=1)
    found: Floats = np.divide(rows[:, 0], means, out=np.zeros(len(rows)), where=means > 0)
    return found


def rule_of(training_images: int, reference: ArrayLike, reference_prompts: int, among: ArrayLike) -> Rule:
    """The rule for a folder, from the reference if there is one.

    Of N reference generations the threshold is the k-th smallest ratio, k = floor(.01 (N + 1)) and at least 1.

    Args:
        training_images: Distinct ones.
        reference: ``[n]``, ratios of the generations of reference prompts; empty without any.
        reference_prompts: Of which they are.
        among: ``[training_images]``, ratios of training images among the others.

    Example:
        >>> rule = rule_of(100, np.linspace(0.5, 0.9, 399), 100, np.linspace(0.3, 1.0, 100))
        >>> round(rule.threshold, 3), rule.false_copies.value, rule.neighbours
        (0.503, 0.01, 50)
    """
    known = np.sort(np.asarray(reference, dtype=np.float64))
    others = np.asarray(among, dtype=np.float64)
    n, neighbours = len(known), neighbours_of(training_images)
    if n == 0:
        return Rule("ratio", ALPHA, neighbours, training_images, 0, 0, None, float((others < ALPHA).mean()))
    k = max(1, math.floor(FALSE_COPIES * (n + 1) + 1e-9 * n))
    threshold = float(known[k - 1])
    a, b = (share * reference_prompts / n for share in (k, n + 1 - k))
    low, high = beta_ppf([(1 - LEVEL) / 2, (1 + LEVEL) / 2], a, b)
    expected = Interval(k / (n + 1), float(low), float(high))
    alike = float((others < threshold).mean())
    return Rule("reference", threshold, neighbours, training_images, n, reference_prompts, expected, alike)
