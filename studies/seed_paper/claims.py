"""Claims of Jeon, Kim and No (arXiv 2412.04140) on a world: a number each, and whether it is what the claim says.

The rules were written before the models of the worlds ``flow`` and ``v`` existed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memdet.benching.numerics.table import rank_correlation
from memdet.metrics import Interval, auroc_interval, mean_interval, paired_tests, share_interval
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
    """Mean of the norms over that of the traces; the interval is that of the linearised ratio."""

    def measure(data: Json) -> Interval:
        estimate, quantity = _pair(data, when, name)
        ratio = float(estimate.mean() / quantity.mean())
        moved = mean_interval((estimate - ratio * quantity) / quantity.mean(), np.array(data["clusters"], dtype=str))
        return Interval(ratio, ratio + moved.low, ratio + moved.high)

    return measure


def _rank(when: str, name: str) -> Callable[[Json], Interval]:
    return lambda data: rank_interval(*_pair(data, when, name))


def rank_interval(a: NDArray[np.float64], b: NDArray[np.float64]) -> Interval:
    """Spearman's rank correlation with the interval of Bonett and Wright (Psychometrika 65, 2000).

    NaN where a side is constant; without bounds for fewer than four items.

    Example:
        >>> import numpy as np
        >>> found = rank_interval(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 3.0, 2.0, 4.0]))
        >>> round(found.value, 1), round(found.low, 2), found.high < 1
        (0.8, -0.84, True)
    """
    value = rank_correlation(a, b)
    if len(a) < 4:
        return Interval(value, float("nan"), float("nan"))
    reach = _NORMAL * np.sqrt((1 + value**2 / 2) / (len(a) - 3))
    with np.errstate(divide="ignore"):
        centre = np.arctanh(np.clip(value, -1, 1))
    return Interval(value, float(np.tanh(centre - reach)), float(np.tanh(centre + reach)))


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
