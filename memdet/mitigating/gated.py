"""Mitigation of flagged captions alone: what each pair of a detector and a mitigation leaves, spoils and costs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memdet.detectors.base import is_control
from memdet.errors import UserError
from memdet.metrics import Interval, at_least_as_high
from memdet.mitigating.generations import Generations
from memdet.mitigating.measures import KINDS, copied_share, faithful_to, judge_all, share_of
from memdet.mitigation.registry import COMPARED
from memdet.models.garment_classifier import GarmentClassifier
from memdet.results.run import Run

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
NOBODY, EVERYBODY = "nobody", "everybody"
"""In place of a detector: no caption is flagged, or every one is."""


@dataclass(frozen=True)
class Gated:
    """What is left where one mitigation is applied to the captions that one detector flags.

    Attributes:
        detector: Label, :data:`NOBODY` or :data:`EVERYBODY`.
        is_control: Whether it never calls the model.
        mitigation: Label.
        flagged: Share of captions that are flagged, by ``memorized`` and ``ordinary``.
        copied: Share of the generations of memorized captions that are copies.
        faithful: Share of generations that show what the caption names, by kind.
        evaluations: Forwards and products of one generation, of the detector and of the trajectory; the mean over
            captions of which half are memorized.
    """

    detector: str
    is_control: bool
    mitigation: str
    flagged: dict[str, float]
    copied: Interval
    faithful: dict[str, Interval]
    evaluations: float


def gate(run: Generations, scores: Run, fpr: float, classifier: GarmentClassifier | None = None) -> list[Gated]:
    """The table of detectors and mitigations.

    A caption is flagged where its conformal p-value among the ordinary captions of the run is at most ``fpr``: the
    share of them, itself included, that score at least as high. An ordinary caption is compared with the others. In
    expectation no larger share of ordinary captions is flagged. What is not flagged keeps its generations without
    mitigation.

    Args:
        run: Generations, among them those of ``none``.
        scores: A run of detectors that has all captions of it.
        fpr: 0 to 1.
        classifier: As for :func:`~memdet.mitigating.measures.measure`.

    Returns:
        A row for each pair, beside those of flagging nobody and everybody; by mitigation, then as the run has them.

    Raises:
        UserError: A rate that is none, a run without ``none`` or without ordinary captions, or scores of other
            captions.
    """
    if not 0 < fpr < 1:
        raise UserError(f"`fpr` is {fpr!r}; write a rate between 0 and 1", parameters=("fpr",))
    plain = run.of(COMPARED[0])
    labels = run.items["label"].to_numpy()
    if plain is None or plain.status != "ok" or not (labels == 1).any() or not (labels == 0).any():
        raise UserError("a gate needs generations without mitigation, of memorized and of ordinary captions")
    flags = {label: _flagged(of_items, labels, fpr) for label, of_items in _scores(run, scores).items()}
    costs = _costs(run, scores)
    access = {entry.label: entry.access for entry in scores.manifest.settings.detectors}
    everybody = {NOBODY: np.zeros(len(labels), bool), **flags, EVERYBODY: np.ones(len(labels), bool)}
    judged = judge_all(run, classifier or GarmentClassifier())
    clusters = run.items["cluster"].to_numpy(str)
    rows = []
    for one in run.mitigations:
        if one.status != "ok" or one.label == COMPARED[0]:
            continue
        copies = {label: copied_share(of.own, run.rule.threshold) for label, of in (("old", plain), ("new", one))}
        right = {label: faithful_to(run, judged[of.label]) for label, of in (("old", plain), ("new", one))}
        dear = [of.forwards + of.jvps + of.vjps for of in (plain, one)]
        for detector, flagged in everybody.items():
            mixed = [np.where(flagged[:, None], part["new"], part["old"]) for part in (copies, right)]
            share = {kind: float(flagged[labels == label].mean()) for kind, label in KINDS.items()}
            half = float(np.mean(list(share.values())))
            rows.append(
                Gated(
                    detector,
                    detector in access and is_control(access[detector]),
                    one.label,
                    share,
                    share_of(mixed[0][labels == 1], clusters[labels == 1]),
                    {
                        kind: share_of(mixed[1][told], clusters[told])
                        for kind, label in KINDS.items()
                        if (told := (labels == label) & ~np.isnan(mixed[1]).any(axis=1)).any()
                    },
                    costs.get(detector, 0.0) + dear[0] + half * (dear[1] - dear[0]),
                )
            )
    return rows


def _flagged(scores: Floats, labels: NDArray[np.int64], fpr: float) -> Bools:
    ordinary = labels == 0
    above = at_least_as_high(scores, scores[ordinary])
    n = int(ordinary.sum())
    p = np.where(ordinary, above / n, (1 + above) / (1 + n))  # the count of an ordinary caption has itself in it
    flagged: Bools = p <= fpr
    return flagged


def _scores(run: Generations, scores: Run) -> dict[str, Floats]:
    """Mean score over seeds of each caption by detector, where all of its rows are ok."""
    rows = scores.score_rows()
    rows = rows[rows["sample_set"] == run.sample_set]
    wanted = run.items["item_id"]
    if missing := set(wanted) - set(rows["item_id"]):
        raise UserError(
            f"{scores.path or 'the run'} has no scores of {len(missing)} captions of {run.sample_set}, the first "
            f"{min(missing)}: name a run of detectors on that sample set"
        )
    found = {}
    for label, own in rows[rows["item_id"].isin(set(wanted))].groupby("detector", sort=False):
        if (own["status"] == "ok").all():
            found[str(label)] = own.groupby("item_id")["score"].mean().loc[wanted].to_numpy(np.float64)
    return found


def _costs(run: Generations, scores: Run) -> dict[str, float]:
    """Evaluations of one caption by detector, over all seeds that its score averages."""
    rows = scores.score_rows()
    rows = rows[rows["sample_set"] == run.sample_set]
    return {
        str(label): float((own["forwards"] + own["jvps"] + own["vjps"]).mean() * own["seed"].nunique())
        for label, own in rows.groupby("detector", sort=False)
    }
