"""Verdicts on the claims of Jeon, Kim and No (arXiv 2412.04140), each computed from numbers by a rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memdet.tables.numbers import UNDEFINED, bounded, number
from studies.seed_paper.measure import Json
from studies.seed_paper.toy import SEPARATES

RATIO = 0.1  # by how much two means that are equal in theory may differ
RANKS = 0.5  # rank correlation from which an estimate is said to follow its quantity item by item
SIGNIFICANT = 0.05  # p-value of DeLong's test of two AUROCs
HOLDS, FAILS, MIXED = "Holds here", "Does not hold here", "Holds here in part"


@dataclass(frozen=True)
class Verdict:
    """Whether a claim holds.

    Attributes:
        claim: Of the paper, in our words.
        outcome: ``HOLDS``, ``MIXED`` or ``FAILS``.
        reason: The numbers that decided.
    """

    claim: str
    outcome: str
    reason: str

    def __str__(self) -> str:
        return f"**Claim.** {self.claim}\n\n**{self.outcome}.** {self.reason}"


def judge_toy(numbers: Json) -> Verdict:
    """Figure 1: is the memorized trajectory's smallest eigenvalue far more negative at the end?"""
    last = numbers["last"]
    learned, exact = (last[kind]["auroc"] for kind in ("learned", "exact"))
    met = [_at_least(area, SEPARATES) for area in (learned, exact)]
    start = numbers["separated_from"]["learned"]
    since = "They are not told apart at the end."
    if start is not None:
        since = f"The two groups are told apart from t = {start} down to the end."
    reason = (
        f"At t = {last['t']} the median smallest eigenvalue times sigma_t^2 is "
        f"{eigenvalue(last['learned']['memorized'])} on trajectories into the tight mode and "
        f"{eigenvalue(last['learned']['other'])} on the others, AUROC {number(learned)} (closed form "
        f"at the same points: {eigenvalue(last['exact']['memorized'])} and "
        f"{eigenvalue(last['exact']['other'])}, {number(exact)}). {since}"
    )
    claim = (
        "A memorized sample sits on a sharp peak. Trajectories that lead to it, and no others, have a large negative "
        "eigenvalue."
    )
    return Verdict(claim, _outcome(met), reason)


def judge_pixel(numbers: Sequence[Json]) -> list[Verdict]:
    """Figure 2: no positive eigenvalues at the end, and larger negative ones."""
    first, last = numbers[0], numbers[-1]
    positive, area = last["positive"], last["positive"]["auroc"]
    verdicts = [
        Verdict(
            "Near the end of the generation, memorized samples have no positive eigenvalues, and others have some.",
            _outcome([_at_least(area, SEPARATES), positive["memorized"] == 0]),
            f"At t = {last['t']} the median number of positive eigenvalues is {median_count(positive['memorized'])} "
            f"for memorized generations and {median_count(positive['other'])} for the others. Minus this number, as a "
            f"score, has AUROC {number(area)}.",
        )
    ]
    met = [_at_least(row["smallest"]["auroc"], SEPARATES) for row in (first, last)]
    each = "; ".join(
        f"at t = {row['t']} the median of the smallest eigenvalue times sigma_t^2 is "
        f"{eigenvalue(row['smallest']['memorized'])} against {eigenvalue(row['smallest']['other'])}, "
        f"AUROC {number(row['smallest']['auroc'])}"
        for row in (first, last)
    )
    reversed_at = [str(row["t"]) for row in (first, last) if row["smallest"]["auroc"] <= 1 - SEPARATES]
    note = f" At t = {' and '.join(reversed_at)} the order is the opposite one." if reversed_at else ""
    claim = (
        "The smallest eigenvalue of memorized samples is more negative than that of others, at the first step and at "
        "the last."
    )
    verdicts.append(Verdict(claim, _outcome(met), f"Memorized samples against others: {each}.{note}"))
    return verdicts


def judge_identity(numbers: Sequence[Json], name: str) -> Verdict:
    """Figure 4: is a norm the trace, on the mean and item by item?"""
    words = {
        "trace": ("The squared norm of the score measures -tr H", "norm(s)^2", "-tr H"),
        "cubic": ("The squared norm of the product of Hessian and score measures -tr H^3", "norm(H s)^2", "-tr H^3"),
    }
    claim, estimate, quantity = words[name]
    met, each = [], []
    for row in numbers:
        ratio, rank = (row[name]["all"][key] for key in ("ratio", "rank_correlation"))
        met += [ratio is not None and abs(ratio - 1) <= RATIO, _at_least(rank, RANKS)]
        each.append(
            f"at t = {row['t']} the ratio of the means is {plain(ratio)} and the rank correlation over items "
            f"{plain(rank)}"
        )
    return Verdict(f"{claim}.", _outcome(met), f"{estimate} against {quantity}: {'; '.join(each)}.")


def judge_gap(numbers: Sequence[Json]) -> Verdict:
    """Figure 5: does the difference of the branches separate better than the conditional branch?"""
    met, each = [], []
    for row in numbers:
        better = row["gain"] > 0 and row["p"] is not None and row["p"] < SIGNIFICANT
        met.append(better)
        worse = row["gain"] < 0 and row["p"] is not None and row["p"] < SIGNIFICANT
        sense = "better" if better else "worse" if worse else "no significant difference"
        each.append(
            f"at t = {row['t']} {interval(row['smallest_gap'])} for S_D against {interval(row['smallest'])} for S_c "
            f"({sense}, p = {plain(row['p'])})"
        )
    claim = "The smallest eigenvalue of S_D tells memorized prompts from others better than that of S_c."
    return Verdict(claim, _outcome(met), f"AUROC: {'; '.join(each)}.")


def _outcome(met: Sequence[bool]) -> str:
    return HOLDS if all(met) else MIXED if any(met) else FAILS


def _at_least(value: float | None, bound: float) -> bool:
    return value is not None and value >= bound


def plain(value: float | None) -> str:
    """Two digits after the point, or two significant ones."""
    return UNDEFINED if value is None else f"{value:.2g}" if abs(value) < 0.01 else f"{value:.2f}"


def eigenvalue(value: float | None) -> str:
    """An eigenvalue."""
    return UNDEFINED if value is None else f"{value:.1e}" if abs(value) < 0.001 else f"{value:.3f}"


def median_count(value: float) -> str:
    """A median of counts."""
    return f"{value:g}"


def interval(row: Json) -> str:
    """An AUROC with its interval, where it has one."""
    return bounded(number(row["auroc"]), row["low"], row["high"])
