"""What the generations of mitigations show: extraction, fidelity, diversity, distance to ordinary ones, and cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray

from memdet.metrics import Interval, holm, mean_interval, share_interval
from memdet.metrics._kernel_distance import KernelDistance, kernel_distance
from memdet.metrics._paired_means import PairedDifference, paired_difference
from memdet.mitigating.generations import Generations, OfMitigation
from memdet.mitigation import mitigation_classes
from memdet.mitigation.registry import COMPARED
from memdet.models.garment_classifier import FEATURES, GarmentClassifier
from memdet.models.garments import garment_of

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """What one mitigation does.

    Attributes:
        label: Of the mitigation.
        is_control: Whether it is a point of comparison.
        status, message: ``ok``; else nothing is measured, and why.
        copied: Share of the generations of memorized captions that are copies of an own training image.
        copied_any: The same, of the training image of any item.
        against: ``copied`` less that of each of ``none`` and ``reseed``, where it is another mitigation.
        adjusted: p-values of these, after Holm over all of the table.
        faithful: Share of generations that show what the caption names, of memorized and of ordinary captions; empty
            where the classifier does not know such pictures.
        diverse: Mean distance of the pairs of seeds of a caption, likewise; None of one seed.
        kernel: Squared distance from the generations of ordinary captions without mitigation to those of memorized ones
            with it, of features whose mean square over the former is 1; None where there is one caption of either, or
            the classifier does not know such pictures.
        forwards, jvps, vjps, seconds: Of one generation.
        on_front: Whether no other mitigation copies less and is as faithful on memorized captions, or copies as little
            and is more so.
    """

    label: str
    is_control: bool
    status: str = "ok"
    message: str = ""
    copied: Interval | None = None
    copied_any: Interval | None = None
    against: dict[str, PairedDifference] | None = None
    adjusted: dict[str, float] | None = None
    faithful: dict[str, Interval] | None = None
    diverse: dict[str, Interval] | None = None
    kernel: KernelDistance | None = None
    forwards: float | None = None
    jvps: float | None = None
    vjps: float | None = None
    seconds: float | None = None
    on_front: bool = False

    @property
    def beats_reseed(self) -> bool | None:
        """Whether it copies less than another noise alone does, at :data:`LEVEL` after Holm; None of these controls."""
        if self.adjusted is None or self.against is None or RESEED not in self.adjusted:
            return None
        return self.adjusted[RESEED] < LEVEL and self.against[RESEED].interval.value < 0


LEVEL = 0.05
RESEED = COMPARED[1]
KINDS = {"memorized": 1, "ordinary": 0}


def measure(run: Generations, classifier: GarmentClassifier | None = None) -> list[Measured]:
    """Everything that is told of a run, a row a mitigation.

    Args:
        run: Finished.
        classifier: By which fidelity and features are judged; the one that ships with memdet if not given. It judges
            no generations in colour or of another size than its own: fidelity and kernel distance are then not known.
    """
    judged = judge_all(run, classifier or GarmentClassifier())
    rows = [_measured(run, one, judged) for one in run.mitigations]
    rows = _with_holm(rows)
    points = [
        (row.copied.value, row.faithful["memorized"].value)
        if row.copied is not None and row.faithful is not None and "memorized" in row.faithful
        else None
        for row in rows
    ]
    return [replace(row, on_front=on) for row, on in zip(rows, front(points), strict=True)]


def copied_share(own: Floats, threshold: float) -> Floats:
    """1 where a generation is a copy, else 0: its distance is below the threshold, and not at it."""
    return (own < threshold).astype(np.float64)


def diversity(pictures: Floats) -> Floats:
    """Mean root mean square distance of all pairs of generations of each item, ``[items]``.

    Args:
        pictures: ``[items, seeds, ...]``, two seeds or more.
    """
    each = pictures.reshape(*pictures.shape[:2], -1)
    pairs = [
        np.sqrt(np.square(each[:, one] - each[:, other]).mean(axis=1))
        for one, other in combinations(range(pictures.shape[1]), 2)
    ]
    found: Floats = np.mean(pairs, axis=0)
    return found


def front(points: Sequence[tuple[float, float] | None]) -> list[bool]:
    """Which points no other one beats: less extraction at no less fidelity, or more fidelity at no more extraction.

    Args:
        points: Extraction and fidelity; None is on no front.

    Example:
        >>> front([(0.9, 0.8), (0.2, 0.8), (0.1, 0.5), (0.3, 0.7), None])
        [False, True, True, False, False]
    """
    known = [point for point in points if point is not None]

    def beaten(point: tuple[float, float]) -> bool:
        return any(o[0] <= point[0] and o[1] >= point[1] and o != point for o in known)

    return [point is not None and not beaten(point) for point in points]


@dataclass(frozen=True)
class Judged:
    """Classes and features of the pictures of one mitigation: ``[items, seeds]``, ``[items, seeds, features]``.

    Both are None where the classifier does not know such pictures.
    """

    names: NDArray[np.object_] | None
    features: Floats | None
    pictures: Floats


def judge_all(run: Generations, classifier: GarmentClassifier) -> dict[str, Judged]:
    """What a classifier says of the generations of each mitigation that has some."""
    return {one.label: _judge(one, classifier) for one in run.mitigations if one.status == "ok"}


def faithful_to(run: Generations, judged: Judged) -> Floats:
    """1 where a generation shows the garment of its caption, else 0, ``[items, seeds]``; NaN where none is named."""
    named = np.array([garment_of(caption) for caption in run.items["condition"]], dtype=object)
    if judged.names is None:
        return np.full(judged.pictures.shape[:2], np.nan)
    right: Floats = (judged.names == named[:, None]).astype(np.float64)
    right[named == None] = np.nan  # noqa: E711  # of each item
    return right


def _judge(one: OfMitigation, classifier: GarmentClassifier) -> Judged:
    pictures = one.pixels()
    shape, of_one = pictures.shape[:2], pictures.shape[2:]
    if of_one != classifier.takes:
        return Judged(None, None, pictures)
    names, features = classifier.judge(torch.from_numpy(pictures.reshape(-1, *of_one)))
    of_items = np.array(names, dtype=object).reshape(shape)
    return Judged(of_items, features.numpy().reshape(*shape, FEATURES), pictures)


def _measured(run: Generations, one: OfMitigation, judged: dict[str, Judged]) -> Measured:
    name = one.label.partition("@")[0]
    known = mitigation_classes().get(name)
    is_control = known is not None and known.info.is_control
    if one.status != "ok":
        return Measured(one.label, is_control, one.status, one.message)
    labels, clusters = run.items["label"].to_numpy(), run.items["cluster"].to_numpy(str)
    memorized, own = labels == 1, judged[one.label]
    copied = copied_share(one.own, run.rule.threshold)[memorized]
    copied_any = copied_share(one.nearest, run.rule.threshold)[memorized]
    others = {label: run.of(label) for label in COMPARED if label != one.label}
    against = {
        label: paired_difference(copied, copied_share(other.own, run.rule.threshold)[memorized], clusters[memorized])
        for label, other in others.items()
        if other is not None and other.status == "ok" and memorized.any()
    }
    right = faithful_to(run, own)
    faithful, diverse = {}, {}
    for kind, label in KINDS.items():
        rows = labels == label
        if (told := rows & ~np.isnan(right).any(axis=1)).any():
            faithful[kind] = share_of(right[told], clusters[told])
        if rows.any() and len(run.seeds) > 1:
            diverse[kind] = mean_interval(diversity(own.pictures[rows]), clusters[rows])
    return Measured(
        one.label,
        is_control,
        message=one.message,
        copied=share_of(copied, clusters[memorized]) if memorized.any() else None,
        copied_any=share_of(copied_any, clusters[memorized]) if memorized.any() else None,
        against=against,
        faithful=faithful,
        diverse=diverse or None,
        kernel=_kernel(own, judged.get(COMPARED[0]), labels, clusters),
        forwards=one.forwards,
        jvps=one.jvps,
        vjps=one.vjps,
        seconds=one.seconds,
    )


def share_of(values: Floats, clusters: NDArray[np.str_]) -> Interval:
    """Mean of zeros and ones, ``[items, seeds]``; where all are alike, a bootstrap of captions knows no other answer.

    Its interval is then that of so many captions that all agree.
    """
    if values.min() != values.max():
        return mean_interval(values, clusters)
    k = len(set(clusters.tolist()))
    return share_interval(k if values.max() == 1 else 0, k)


def _kernel(
    own: Judged, plain: Judged | None, labels: NDArray[np.int64], clusters: NDArray[np.str_]
) -> KernelDistance | None:
    memorized, ordinary = labels == 1, labels == 0
    if plain is None or plain.features is None or own.features is None:
        return None
    if min(len(set(clusters[rows])) for rows in (memorized, ordinary)) < 2:
        return None
    seeds, reference = own.features.shape[1], plain.features[ordinary]
    size = float(np.sqrt(np.square(reference).mean())) or 1.0  # features have no unit, and the kernel has
    return kernel_distance(
        own.features[memorized].reshape(-1, FEATURES) / size,
        reference.reshape(-1, FEATURES) / size,
        np.repeat(clusters[memorized], seeds),
        np.repeat(clusters[ordinary], seeds),
    )


def _with_holm(rows: list[Measured]) -> list[Measured]:
    """p-values adjusted for all comparisons of the table, but for the one of the two controls with each other."""
    keys = [
        (number, label) for number, row in enumerate(rows) for label in (row.against or {}) if row.label not in COMPARED
    ]
    p = holm([(rows[number].against or {})[label].p for number, label in keys])
    adjusted: dict[int, dict[str, float]] = {}
    for (number, label), value in zip(keys, p.tolist(), strict=True):
        adjusted.setdefault(number, {})[label] = value
    return [replace(row, adjusted=adjusted.get(number)) for number, row in enumerate(rows)]
