"""Claims of Jeon, Kim and No (arXiv 2412.04140) on a world: a number each, and whether it is what the claim says.

The rules were written before the models of the worlds ``flow`` and ``v`` existed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from memdet.benching.numerics.table import rank_correlation
from memdet.metrics import Interval, auroc_interval, paired_tests, share_interval
from studies.seed_paper.measure import IDENTITIES, Floats, Json
from studies.seed_paper.toy import SEPARATES
from studies.seed_paper.verdicts import RANKS, RATIO, SIGNIFICANT

HOLDS, FAILS, OPEN = "holds", "does not hold", "open"
WHEN = {"first": "first step", "late": "t near 200", "last": "last step"}
_NORMAL = 1.959964  # 97.5 % of a normal number lie below it


@dataclass(frozen=True)
class Kind:
    """What is claimed of a number, and when the claim is said to hold.

    Attributes:
        name: Of the number.
        bound: First and last value that a claim of this kind says it has.
        surely: Between which its whole interval must lie as well; the lower end is left out.
    """

    name: str
    bound: tuple[float, float]
    surely: tuple[float, float]


AREA = Kind("AUROC", (SEPARATES, 1), (0.5, 1))
GAIN = Kind("difference of AUROCs", (0, 1), (0, 1))
SHARE = Kind("share of copies", (0.5, 1), (0.5, 1))
RATIO_OF_MEANS = Kind("ratio of means", (1 - RATIO, 1 + RATIO), (1 - 2 * RATIO, 1 + 2 * RATIO))
RANK = Kind("rank correlation", (RANKS, 1), (0, 1))
KINDS = (AREA, GAIN, SHARE, RATIO_OF_MEANS, RANK)


@dataclass(frozen=True)
class Claim:
    """A claim, posed at one time.

    Attributes:
        text: In our words.
        when: A key of ``WHEN``.
        kind: What is claimed of the number.
        measure: The number, of what is stored of one model.
    """

    text: str
    when: str
    kind: Kind
    measure: Callable[[Json], Interval]


def outcome(number: Interval, kind: Kind) -> str:
    """``HOLDS`` where the number is within the bound and its interval lies in the wider range of its kind.

    ``FAILS`` where the whole interval is outside the bound, ``OPEN`` in between and where there is no interval.

    Example:
        >>> outcome(Interval(0.95, 0.85, 0.99), AREA), outcome(Interval(0.7, 0.6, 0.8), AREA)
        ('holds', 'does not hold')
        >>> outcome(Interval(0.85, 0.7, 0.95), AREA)
        'open'
    """
    (least, most), (above, below) = kind.bound, kind.surely
    if least <= number.value <= most and above < number.low and number.high <= below:
        return HOLDS
    return FAILS if number.high < least or number.low > most else OPEN


def over_models(numbers: Sequence[Interval]) -> Interval:
    """The mean over models, with the mean of their bounds: as wide as if the models' errors were one.

    Sister models share captions, so that their errors are not independent.

    Example:
        >>> over_models([Interval(0.5, 0.25, 0.75), Interval(1.0, 0.75, 1.0)])
        Interval(value=0.75, low=0.5, high=0.875)
    """
    value, low, high = np.mean([(number.value, number.low, number.high) for number in numbers], axis=0).tolist()
    return Interval(value, low, high)


def place_at(data: Json, when: str) -> Json:
    """What is stored of the spectra at one of the times ``WHEN``."""
    place: Json = next(place for place in data["places"] if place["t"] == data["t"][when])
    return place


def area_of(data: Json, scores: Floats) -> Interval:
    """AUROC of scores that are high for copies."""
    return auroc_interval(scores, data["labels"], np.array(data["clusters"], dtype=str))


def _area(when: str, quantity: str) -> Callable[[Json], Interval]:
    return lambda data: area_of(data, -np.array(place_at(data, when)[quantity], float))


def _gain(first: Callable[[Json], Floats], second: Callable[[Json], Floats]) -> Callable[[Json], Interval]:
    """AUROC of the first less that of the second.

    Where nothing varies the paired interval is a point; the sign test then says whether it may leave out 0.
    """

    def measure(data: Json) -> Interval:
        labels, clusters = np.array(data["labels"]), np.array(data["clusters"], dtype=str)
        found = paired_tests(np.stack([first(data), second(data)]), labels, clusters)
        value, low, high, p = (float(column[0]) for column in (found.difference, found.low, found.high, found.p))
        return Interval(value, low, high) if p < SIGNIFICANT else Interval(value, min(low, 0.0), max(high, 0.0))

    return measure


def _sharp(when: str, quantity: str) -> Callable[[Json], Floats]:
    return lambda data: -np.array(place_at(data, when)[quantity], float)


def _norm(name: str) -> Callable[[Json], Floats]:
    return lambda data: np.array(data["norms"][name], float)


def _none_positive(when: str) -> Callable[[Json], Interval]:
    def measure(data: Json) -> Interval:
        counts = np.array(place_at(data, when)["positive"])[np.array(data["labels"]) == 1]
        return share_interval(int((counts == 0).sum()), len(counts))

    return measure


def _pair(data: Json, when: str, name: str) -> tuple[Floats, Floats]:
    place = next(place for place in data["identities"] if place["t"] == data["t"][when])
    estimate, quantity = (np.array(place[key], float) for key in IDENTITIES[name])
    return estimate, quantity


def _ratio(when: str, name: str) -> Callable[[Json], Interval]:
    return lambda data: ratio_interval(*_pair(data, when, name), data["clusters"])


def _rank(when: str, name: str) -> Callable[[Json], Interval]:
    return lambda data: rank_interval(*_pair(data, when, name))


def ratio_interval(a: Floats, b: Floats, clusters: Sequence[str]) -> Interval:
    """Mean of ``a`` over mean of ``b``, with Student's t and the variance of the linearised ratio, over clusters.

    Without bounds for a single cluster.

    Example:
        >>> ratio_interval(np.array([2.0, 4.0]), np.array([1.0, 2.0]), ["a", "b"])
        Interval(value=2.0, low=2.0, high=2.0)
    """
    ratio = float(a.mean() / b.mean())
    _, family = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    moved = np.bincount(family, weights=(a - ratio * b) / b.sum())
    k = len(moved)
    if k < 2:
        return Interval(ratio, float("nan"), float("nan"))
    reach = float(special.stdtrit(k - 1, 0.975) * np.sqrt(k / (k - 1) * np.square(moved).sum()))
    return Interval(ratio, ratio - reach, ratio + reach)


def rank_interval(a: Floats, b: Floats) -> Interval:
    """Spearman's rank correlation with the interval of Bonett and Wright (Psychometrika 65, 2000).

    Fisher's transform of a perfect one has no end: its lower bound is that of half an exchange of neighbours less. NaN
    where a side is constant; without bounds for fewer than four items.

    Example:
        >>> found = rank_interval(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 3.0, 2.0, 4.0]))
        >>> round(found.value, 1), round(found.low, 2), found.high < 1
        (0.8, -0.82, True)
    """
    value, n = rank_correlation(a, b), len(a)
    if n < 4 or np.isnan(value):
        return Interval(value, float("nan"), float("nan"))
    reach = _NORMAL * np.sqrt((1 + value**2 / 2) / (n - 3))
    most = 1 - 6 / (n * (n**2 - 1))
    low, high = np.tanh(np.arctanh(np.clip(value, -most, most)) + np.array([-reach, reach]))
    return Interval(value, min(value, float(low)), max(value, float(high)))


CLAIMS = (
    *(
        Claim("The smallest eigenvalue of S_c is lower for copies", when, AREA, _area(when, "smallest"))
        for when in ("first", "late", "last")
    ),
    Claim("S_c has fewer positive eigenvalues for copies", "last", AREA, _area("last", "positive")),
    Claim("S_c has no positive eigenvalue for most copies", "last", SHARE, _none_positive("last")),
    Claim(
        "norm(J_D s_D) tells copies better than norm(s_D)",
        "first",
        GAIN,
        _gain(_norm("hessian"), _norm("difference")),
    ),
    *(
        Claim(
            "The smallest eigenvalue of S_D tells copies better than that of S_c",
            when,
            GAIN,
            _gain(_sharp(when, "smallest_gap"), _sharp(when, "smallest")),
        )
        for when in ("first", "late")
    ),
    *(
        Claim(
            "The smallest eigenvalue of S_c tells copies better than that of S_u",
            when,
            GAIN,
            _gain(_sharp(when, "smallest"), _sharp(when, "smallest_null")),
        )
        for when in ("late", "last")
    ),
    *(
        Claim(text, when, kind, of(when, name))
        for name, sides in (("trace", ("norm(s)^2", "-tr H")), ("cubic", ("norm(H s)^2", "-tr H^3")))
        for text, kind, of in (
            (f"{sides[0]} is {sides[1]} in the mean", RATIO_OF_MEANS, _ratio),
            (f"{sides[0]} follows {sides[1]} from item to item", RANK, _rank),
        )
        for when in ("first", "late")
    ),
)
