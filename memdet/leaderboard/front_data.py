"""The front page as plain data for ``memdet.page``, and as sentences for ``leaderboard.md``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import groupby
from typing import Any

from memdet.leaderboard.cells import CONTROL_QUESTIONS, Cell, spec_of
from memdet.leaderboard.front import BUDGET, Failure, Front, MethodRow, by_reason
from memdet.leaderboard.ranking import WorldRanking
from memdet.results.run import SetKey
from memdet.tables.numbers import bounded, counted, number, signed

ONE_SET = "set"  # below a question, instead of its name once more
NAMED = 3  # methods that a sentence names of those that are tied


def front_data(
    front: Front, ranking: WorldRanking, keys: Sequence[SetKey], yours: Collection[str] = ()
) -> dict[str, Any]:
    """What ``script/front.js`` draws; sample sets are named, and methods are places among ``rows``.

    Args:
        front: From :func:`~memdet.leaderboard.front.front_of`.
        ranking: Of which it is.
        keys: All sample sets of the page.
        yours: Labels of rows that are marked.
    """
    places = {row.label: place for place, row in enumerate(front.rows)}
    short = short_names(front.cells)
    questions = [
        {
            "name": question,
            "worlds": [{"world": cell.world, "sets": [[name, short[name]] for name, _ in cell.sets]} for cell in cells],
        }
        for question, cells in groupby(front.cells, lambda cell: cell.question)
    ]
    gains = {one.detector: one.gain for one in ranking.standings}
    rows = [
        {
            "label": row.label,
            "method": row.standing.method,
            "kind": row.kind,
            **({"yours": True} if row.label in yours else {}),
            "rank": row.standing.rank,
            "gain": _bounds(row.standing.gain),
            "gains": list(row.gains.values()),
            "aurocs": list(row.aurocs.values()),
            "worst": None if row.worst is None else list(row.gains).index(row.worst),
            "evaluations": row.evaluations,
            "fails": [
                [why, [[one.sample_set, one.auroc] for one in of_one]] for why, of_one in by_reason(row.failures)
            ],
            "tied": [places[label] for label in row.standing.tied],
            "variants": [[label, _bounds(gains[label])] for label in row.variants],
        }
        for row in front.rows
    ]
    chosen = {"best": front.best, "forward": front.best_of_one_forward}
    return {
        "questions": questions,
        "outside": [[name, why] for name, why in outside_of_the_mean(ranking, keys)],
        "rows": rows,
        "wins": front.wins,
        "both": front.both,
        "budget": BUDGET,
        "cards": {name: None if row is None else places[row.label] for name, row in chosen.items()},
        "within": [[budget, places[row.label]] for budget, row in budget_steps(front)],
        "unsolved": None
        if front.unsolved is None
        else {
            "question": front.unsolved.question,
            "label": front.unsolved.label,
            "auroc": front.unsolved.auroc,
            "solved": front.unsolved.solved,
        },
    }


def _bounds(interval: Any) -> list[float] | None:
    return None if interval is None else [interval.value, interval.low, interval.high]


def budget_steps(front: Front) -> list[tuple[int, MethodRow]]:
    """Budgets from which on another method is the best within them, the smallest first."""
    steps: list[tuple[int, MethodRow]] = []
    for budget in sorted({row.evaluations for row in front.candidates}):
        best = front.best_within(budget)
        if best is not None and (not steps or steps[-1][1] is not best):
            steps.append((budget, best))
    return steps


def outside_of_the_mean(ranking: WorldRanking, keys: Iterable[SetKey]) -> list[tuple[str, str]]:
    """Sample sets that do not count, and why.

    Args:
        ranking: Over worlds.
        keys: Sets to look at.
    """
    counted_ones = {key for cell in ranking.cells for key in cell.sets}
    found = []
    for key in keys:
        spec = spec_of(key)
        if key in counted_ones:
            continue
        if key in ranking.saturated:
            why = "saturated: half of the detectors reach .995"
        elif spec is not None and spec.question in CONTROL_QUESTIONS:
            why = f"{spec.question}: a check, nothing is memorized"
        elif key in ranking.left_out:
            why = "too few detectors or clusters so far"
        else:
            why = "asks no question of its own"
        found.append((key[0], why))
    return found


def common_prefix(names: Sequence[str]) -> str:
    """Whole parts with which all names begin: ``tiny-sd-``."""
    if len(names) < 2:
        return ""
    first, last = min(names).split("-"), max(names).split("-")
    same = 0
    while same < min(len(first), len(last)) - 1 and first[same] == last[same]:
        same += 1
    return "".join(part + "-" for part in first[:same])


def short_names(cells: Sequence[Cell]) -> dict[str, str]:
    """Names of sample sets below their question: without what all sets of their world begin with, and the question.

    Example:
        >>> sets = tuple((f"tiny-sd-{name}", 1) for name in ("a-dose", "b-dose"))
        >>> short_names([Cell("dose", "grey", sets), Cell("swap", "grey", (("tiny-sd-swap", 1),))])
        {'tiny-sd-a-dose': 'a', 'tiny-sd-b-dose': 'b', 'tiny-sd-swap': 'set'}
    """
    found = {}
    for cell in cells:
        prefix = common_prefix([name for other in cells if other.world == cell.world for name, _ in other.sets])
        for name, _ in cell.sets:
            short = name.removeprefix(prefix).removesuffix(f"-{cell.question}")
            found[name] = ONE_SET if short == cell.question else short
    return found


def verdict_markdown(front: Front) -> str:
    """The cards of the front page, a line each.

    Args:
        front: From :func:`~memdet.leaderboard.front.front_of`.
    """
    heads = (
        ("Best overall", front.best),
        (f"Best within {BUDGET} evaluations", front.best_within(BUDGET)),
        ("Best from one forward", front.best_of_one_forward),
    )
    lines = [f"- **{head}**: {_pick(row)}" for head, row in heads]
    if front.unsolved is not None:
        one = front.unsolved
        head = "Nothing is unsolved" if one.solved else "Unsolved"
        lines.append(f"- **{head}**: {one.question}; the best there is {one.label} with AUROC {number(one.auroc)}.")
    return "\n".join(lines) + "\n"


def _pick(row: MethodRow | None) -> str:
    if row is None or row.standing.gain is None or row.standing.rank is None:
        return "none"
    gain, (rank, low, high) = row.standing.gain, row.standing.rank
    worst = "" if row.worst is None else f", least on {row.worst}"
    fails = "; ".join(f"{why} on {', '.join(_named(one) for one in of_one)}" for why, of_one in by_reason(row.failures))
    return (
        f"{row.label}, gain {bounded(signed(gain.value), gain.low, gain.high, signed)}{worst}; rank {rank} "
        f"[{low}, {high}]; {counted(row.evaluations, 'evaluation')} an item. "
        + (f"It fails: {fails}. " if fails else "It fails on no set. ")
        + _tied(row.standing.tied)
    ).rstrip()


def _named(one: Failure) -> str:
    return one.sample_set if one.auroc is None else f"{one.sample_set} (AUROC {number(one.auroc)})"


def _tied(labels: Sequence[str]) -> str:
    if not labels:
        return "It is tied with nobody."
    more = f" and {len(labels) - NAMED} more" if len(labels) > NAMED else ""
    return f"It is tied with {', '.join(labels[:NAMED])}{more}."
