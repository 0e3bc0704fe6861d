"""What a sample set of a size can show, in words."""

from __future__ import annotations

from memdet.metrics import smallest_auroc, smallest_difference
from memdet.metrics._power import BASELINE, CORRELATION, LEVEL, POWER
from memdet.tables.numbers import number

ASSUMED = (
    f"two-sided tests at {number(LEVEL, places=2)}, power {number(POWER, places=1)}; of two detectors where one has "
    f"{number(BASELINE, places=2)} and their AUROCs correlate by {number(CORRELATION, places=1)}"
)


def detectable(n_positive: float, n_negative: float) -> dict[str, float | None]:
    """The smallest AUROC that is told from .5, and the smallest difference that is told between two detectors.

    Args:
        n_positive, n_negative: Effective numbers of items.

    Returns:
        ``smallest_auroc`` and ``smallest_difference``: :func:`~memdet.metrics.smallest_auroc` and
        :func:`~memdet.metrics.smallest_difference`; None where nothing could be told, or a label has no items.

    Example:
        >>> detectable(0, 5)
        {'smallest_auroc': None, 'smallest_difference': None}
    """
    if not (n_positive > 0 and n_negative > 0):
        return {"smallest_auroc": None, "smallest_difference": None}
    return {
        "smallest_auroc": smallest_auroc(n_positive, n_negative),
        "smallest_difference": smallest_difference(n_positive, n_negative),
    }


def detectable_sentence(n_positive: float, n_negative: float) -> str:
    """The same in words.

    Example:
        >>> print(detectable_sentence(2, 2))
        no AUROC can be told from .5, and no two from each other (two-sided tests at .05, power .8; of two detectors where one has .80 and their AUROCs correlate by .5)
    """  # noqa: E501  # one sentence
    found = detectable(n_positive, n_negative)
    area, difference = found["smallest_auroc"], found["smallest_difference"]
    alone = "no AUROC can be told from .5" if area is None else f"an AUROC from {number(area)} on is told from .5"
    pair = (
        "and no two from each other"
        if difference is None
        else f"and two from each other that differ by {number(difference)} or more"
    )
    return f"{alone}, {pair} ({ASSUMED})"
