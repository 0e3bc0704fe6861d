"""The accuracy gate: a run against a baseline run, from what the two hold alone.

A detector fails on a sample set where

- its AUROC has dropped by more than the tolerance *and* the drop is significant: a paired permutation test, which
  exchanges the old and new ranks of items (clusters of near-duplicates as wholes), with Holm's adjustment over all
  detectors and sample sets;
- its scores have drifted: one of an item and seed differs by more than the tolerance that the baseline's ``run.json``
  states, relative to the detector's largest score on the sample set;
- its scores were rounded to 16 bits, which a wide tolerance would not see;
- it, an item or the whole sample set has vanished, or its status was ok and is not any more, or it fails where it did
  not.

Controls, which never call the model, are held to all but the first: what they score is not accuracy. What only the run
has passes, and is named.

**Seeds.** Where the runs share seeds, those alone are compared. Where they share none, as many of each are averaged per
item; AUROCs are still paired on items, and no drift can be checked. Noise and probe vectors are then common to all
items of a seed, so exchanging items does not tell all the chance there is: the AUROCs of single seeds must differ too
(Student's test), and the larger p-value counts. That takes two seeds of each run.

**What is not tested.** A drop within the tolerance passes whatever its p. It still counts among the tests, as p = 1:
how many there are does not depend on what was seen.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from memdet.errors import UserError
from memdet.gate.pairs import Failure, Kind, Pair, pairs_of
from memdet.gate.runs import GateRun, gate_run, news, other_circumstances, refuse_other_items
from memdet.metrics import Interval, auroc, holm
from memdet.results.run import Run
from memdet.tables.numbers import short

TOLERANCE, ALPHA = 0.01, 0.05
DRAWS, MOST_DRAWS = 2_000, 200_000
_IDS_SHOWN = 5


@dataclass(frozen=True)
class GateRow:
    """A detector on a sample set, before and after.

    Attributes:
        sample_set, detector: Which.
        control: Whether it never calls the model.
        items: How many are in both runs.
        seeds: Those in both runs.
        before, after: AUROC in the baseline and the run; NaN where a class is missing.
        change: after - before and its interval: of the items alone where the runs share seeds, else of items and draws.
        p, p_adjusted: Of the drop, and by Holm over all tests; None where the drop was not tested.
        drift: Largest difference of a score, relative to the detector's largest; None where it was not checked.
        allowed: The drift that is accepted.
        failed: Kinds of its failures.
    """

    sample_set: str
    detector: str
    control: bool
    items: int
    seeds: tuple[int, ...]
    before: float
    after: float
    change: Interval
    p: float | None
    p_adjusted: float | None
    drift: float | None
    allowed: float
    failed: tuple[Kind, ...]


@dataclass(frozen=True)
class GateResult:
    """What the gate found.

    Attributes:
        run, baseline: Their directories.
        tolerance, alpha: Largest accepted drop of AUROC, and level of the test.
        tests: How many Holm counts.
        rows: One a sample set and detector that are ok in both.
        failures: Why it fails; none if it passes.
        notes: What could not be checked, and what else differs.
    """

    run: str
    baseline: str
    tolerance: float
    alpha: float
    tests: int
    rows: tuple[GateRow, ...]
    failures: tuple[Failure, ...]
    notes: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return not self.failures


def check_run(
    run: Run | Path,
    baseline: Run | Path,
    *,
    tolerance: float = TOLERANCE,
    alpha: float = ALPHA,
    drift: float | None = None,
    detectors: Collection[str] | None = None,
) -> GateResult:
    """Compare a run with a baseline.

    Args:
        run, baseline: Finished runs, or their directories.
        tolerance: Largest drop of AUROC that is accepted, in [0, 1].
        alpha: Level of the test, in (0, 1).
        drift: Relative difference of scores that is accepted, instead of what the baseline states.
        detectors: Labels to compare; None takes all of the baseline.

    Returns:
        Rows, failures and notes; ``passed`` says whether the run may pass.

    Raises:
        UserError: A directory holds no finished run, the runs have other versions of a sample set or other labels, a
            number is out of range, the baseline has no detector beside controls that is ok, or of some detector nothing
            at all can be compared.
    """
    _check_numbers(tolerance, alpha, drift)
    old = gate_run(Run.of(baseline), detectors)
    new = gate_run(Run.of(run))
    refuse_other_items(old, new)
    pairs = list(pairs_of(old, new, drift))
    failures = list(_vanished(old, new))
    judged = [pair for pair in pairs if not pair.control]
    if not failures and not (judged or (pairs and detectors is not None)):
        beside = " beside the controls, which are not what a gate is for" if pairs else ""
        raise UserError(f"{old.name} has no detector with status ok{beside}: there is nothing to compare with")
    untestable = {_key(pair): pair.untestable(alpha, len(judged)) for pair in judged}
    if not failures:
        _refuse_blind(judged, untestable)
    tested = [pair for pair in judged if not untestable[_key(pair)]]
    tests = _p_values(tested, tolerance, alpha)
    rows = []
    for pair in pairs:
        p, adjusted = tests.get(_key(pair), (None, None))
        found = list(_failures(pair, p, adjusted, alpha, len(tested)))
        rows.append(_row(pair, p, adjusted, found))
        failures += found
    notes = [
        *(["the run is its own baseline: nothing can differ"] if _one_directory(run, baseline) else ()),
        *other_circumstances(old, new),
        *(news(old, new) if detectors is None else ()),
        *_limits(pairs, untestable),
    ]
    return GateResult(new.name, old.name, tolerance, alpha, len(tested), tuple(rows), tuple(failures), tuple(notes))


def _one_directory(*runs: Run | Path) -> bool:
    """Whether all are the same run."""
    places = [run.path if isinstance(run, Run) else Path(run) for run in runs]
    return len({id(run) if place is None else place.resolve() for run, place in zip(runs, places, strict=True)}) == 1


def _check_numbers(tolerance: float, alpha: float, drift: float | None) -> None:
    if not 0 <= tolerance <= 1:
        _refuse("tolerance", tolerance, "no drop of AUROC: give a number from 0 to 1, such as 0.01")
    if not 0 < alpha < 1:
        _refuse("alpha", alpha, "no level of a test: give a number between 0 and 1, such as 0.05")
    if drift is not None and not 0 <= drift < math.inf:
        _refuse("drift", drift, "no relative difference: give a number such as 1e-5")


def _refuse(name: str, value: float, why: str) -> NoReturn:
    raise UserError(f"`{name}` {value:g} is {why}", parameters=(name,))


def _key(pair: Pair) -> tuple[str, str]:
    return pair.sample_set, pair.detector


def _vanished(old: GateRun, new: GateRun) -> Iterator[Failure]:
    """What the baseline has and the run lacks."""
    for name, before in old.sets.items():
        if name not in new.sets:
            yield Failure("missing", name, None, "the sample set is not in the run")
            continue
        after = new.sets[name]
        gone = [str(item) for item in before.items.index if item not in after.items.index]
        if gone:
            shown = ", ".join(gone[:_IDS_SHOWN]) + (", ..." if len(gone) > _IDS_SHOWN else "")
            yield Failure(
                "missing", name, None, f"{len(gone)} of {len(before.items)} items are not in the run: {shown}"
            )
        for label, was in before.detectors.items():
            now = after.detectors.get(label)
            if now is None:
                yield Failure("missing", name, label, "the detector is not in the run")
            elif was.status == "ok" != now.status or (
                was.status == "not-applicable" and now.status in {"error", "nonfinite", "constant"}
            ):
                yield Failure("status", name, label, f"{was.status} -> {now.status}: {now.message}".removesuffix(": "))


def _refuse_blind(judged: Sequence[Pair], untestable: dict[tuple[str, str], str]) -> None:
    """A gate that compares nothing must not pass."""
    for pair in judged:
        if untestable[_key(pair)] and pair.undrifted:
            raise UserError(
                f"nothing can be compared of {pair.detector} on {pair.sample_set}: {pair.undrifted}, and "
                f"{untestable[_key(pair)]}; run the baseline's seeds, or make a new baseline"
            )


def _p_values(tested: Sequence[Pair], tolerance: float, alpha: float) -> dict[tuple[str, str], tuple[float, float]]:
    """p-values of the drops beyond the tolerance, raw and adjusted."""
    draws = max(DRAWS, math.ceil(2 * len(tested) / alpha))  # so that the smallest p survives the adjustment
    if draws > MOST_DRAWS:
        raise UserError(
            f"alpha {alpha:g} among {len(tested)} tests takes {draws:,} exchanges of ranks: give a larger one"
        )
    p = [pair.p_value(draws) if pair.drop_beyond(tolerance) else 1.0 for pair in tested]
    return {
        _key(pair): (raw, float(adjusted))
        for pair, raw, adjusted in zip(tested, p, holm(p), strict=True)
        if pair.drop_beyond(tolerance)
    }


def _failures(pair: Pair, p: float | None, adjusted: float | None, alpha: float, tests: int) -> Iterator[Failure]:
    where = pair.sample_set, pair.detector
    if p is not None and adjusted is not None and adjusted <= alpha:
        before, after = (auroc(scores, pair.labels) for scores in pair.means)
        change = pair.change
        message = (
            f"AUROC {before:.4f} -> {after:.4f}, change {change.value:+.4f} [{change.low:+.4f}, {change.high:+.4f}], "
            f"p = {short(p)}, adjusted {short(adjusted)} (Holm over {tests} tests)"
        )
        yield Failure("drop", *where, message, tuple(pair.dropped()))
    if not pair.undrifted and (moved := pair.drifted()):
        message = (
            f"{len(moved)} of {pair.relative.size} scores differ, by up to {short(pair.relative.max())} times the "
            f"largest score; {short(pair.allowed)} is allowed"
        )
        yield Failure("drift", *where, message, tuple(moved))
    if message := pair.rounded():
        yield Failure("precision", *where, message)


def _row(pair: Pair, p: float | None, adjusted: float | None, failures: Sequence[Failure]) -> GateRow:
    before, after = (auroc(scores, pair.labels) for scores in pair.means)
    return GateRow(
        sample_set=pair.sample_set,
        detector=pair.detector,
        control=pair.control,
        items=len(pair.labels),
        seeds=tuple(int(seed) for seed in pair.before.columns) if pair.shared else (),
        before=before,
        after=after,
        change=pair.change,
        p=p,
        p_adjusted=adjusted,
        drift=None if pair.undrifted else float(pair.relative.max()),
        allowed=pair.allowed,
        failed=tuple(failure.kind for failure in failures),
    )


def _limits(pairs: Sequence[Pair], untestable: dict[tuple[str, str], str]) -> Iterator[str]:
    """What could not be checked, and why."""
    reasons: dict[tuple[str, str, str], list[str]] = {}
    for pair in pairs:
        for what, reason in (("drift", pair.undrifted), ("drop", untestable.get(_key(pair), ""))):
            if reason:
                reasons.setdefault((pair.sample_set, what, reason), []).append(pair.detector)
    for (sample_set, what, reason), names in reasons.items():
        yield f"{sample_set}: no {what} could be checked, {reason}: {', '.join(names)}"
