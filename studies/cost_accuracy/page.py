"""``docs/cost-accuracy.md``: the fronts of a run as tables, and what they say, all of it from the rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from memdet.detectors.base import is_control
from memdet.metrics import METRICS_VERSION
from memdet.tables.formats import markdown
from memdet.tables.numbers import UNDEFINED, count, counted, interval, number
from memdet.tables.run_table import GROUP, evaluation_parts, group_of
from memdet.tables.table import Table, left, right
from studies.cost_accuracy.fronts import MEASURES, Row, SetFronts, evaluations, may_lead

FIGURE = "cost-accuracy.png"
CHEAP, CLOSE = 2.5, 0.03  # evaluations a draw: at most two and what is shared; a difference of AUROCs
SHOWN = 3  # sets in a sentence
SEED_PAPER, CHEAPER = "jeon2025", "wen2024"

_INTRODUCTION = """\
# Accuracy against cost

This page asks which detectors are worth their network evaluations. It compares accuracy and cost
from the run `{run}`: {sets} sample sets, {seeds}.

Cost is the number of network evaluations per item, summed over the noise seeds. An evaluation is a forward of one item
on one branch (F), or a Jacobian product in forward mode (JVP) or reverse mode (VJP); each counts as one. Work that all
items share, such as the null branch at shared noise, is divided by the number of items. `memdet report --format html`
counts in the same way. The count favours detectors with JVPs: in float32 on a CPU, a JVP takes the time of four to five
forwards, and a VJP that of little more than one ([throughput](throughput.md)).

A detector is on the *Pareto front* of a sample set if every other detector with an equal or a higher accuracy there
costs more. Controls are not on fronts. Neither are oracles, which look at the training images.

![AUROC and TPR at 1 % FPR against network evaluations, a panel per sample set](figures/{figure})

In the figure, the AUROC axis is stretched near 1, where most detectors are; an AUROC below .45 is drawn at the lower
edge. Not every detector of a front is named: going up, a name is shown if the point is at least .01 above the best
control and above the last named point. The tables below hold every point. `wen2024` and `jeon2025` are also named,
in dark grey, where there is room."""

_AGAIN = """\
`memdet reproduce cost-accuracy --from {run} --out docs` makes this page and its figure again from the
score file (`pip install 'memdet[figures]'` brings matplotlib)."""


def render_cost_page(sets: Sequence[SetFronts], run: str) -> str:
    """The page in Markdown.

    Args:
        sets: From :func:`~studies.cost_accuracy.fronts.fronts_of`.
        run: What the page calls the run, a path from the root of the repository.
    """
    seeds = max(row["seeds"] for found in sets for row in found.rows)
    told = [found for found in sets if _rises(found)]
    said = [_cheap(told), _low_rates(told), _products(told), _behind_cheaper(told), _no_front(sets)]
    parts = [
        _INTRODUCTION.format(run=run, sets=len(sets), seeds=counted(seeds, "noise seed"), figure=FIGURE),
        "## What it says",
        "\n".join(f"- {sentence}" for sentence in said if sentence),
        "A front is made of point estimates. A small step from one point of a front to the next may be chance; the "
        "intervals and groups in the tables below say whether the two detectors are told apart.",
        "## Detectors that take Jacobian products",
        f"This table counts sample sets, of the {len(told)} where the best detector of the front is shown to beat the "
        "best control. *most evaluations*: the cost on the set where it is highest. *sets*: where the detector has "
        "scores. *on the front*: where it is on the front by AUROC. *behind*: where some detector without Jacobian "
        "products costs less and has an AUROC at least as high. *cheaper detector*: of these, the one that is "
        "best on the most sets, and the number of these sets.",
        _products_table(told),
    ]
    for measure, title in MEASURES.items():
        if any(measure in found.fronts for found in sets):
            parts += [f"## Fronts by {title}", _fronts_table(sets, measure)]
    unresolved = [f"`{found.name}`" for found in sets if "tpr_at_1_fpr" not in found.fronts]
    if unresolved:
        parts.append(
            "TPR at 1 % FPR needs at least 100 items that are not memorized. It is therefore not resolvable on "
            f"{_listed(unresolved)}."
        )
    parts += [
        f"Brackets: 95 % intervals. \\*: the best control of the set; a control never calls the model. {GROUP} Metrics "
        f"version {METRICS_VERSION}.",
        _AGAIN.format(run=run),
    ]
    return "\n\n".join(parts) + "\n"


def _cheap(sets: Sequence[SetFronts]) -> str:
    """Where little is enough by AUROC, and what more buys elsewhere."""
    if not sets:
        return ""
    rises = {found.name: _bought(found, "auroc") for found in sets}
    more = {name: (cheap, best) for name, (cheap, best) in rises.items() if best["auroc"] - cheap["auroc"] > CLOSE}
    text = (
        f"**Two evaluations are often enough.** On {len(sets) - len(more)} of {len(sets)} sets the best AUROC for at "
        f"most {CHEAP:g} evaluations per noise draw is within {number(CLOSE)} of the best at any cost."
    )
    return text + (f" On the others, more evaluations raise the AUROC: on {_steps(more, 'auroc')}." if more else "")


def _low_rates(sets: Sequence[SetFronts]) -> str:
    """What more evaluations buy in TPR."""
    measure = "tpr_at_1_fpr"
    rises = {found.name: _bought(found, measure) for found in sets if measure in found.fronts}
    largest = sorted(rises.items(), key=lambda item: item[1][0][measure] - item[1][1][measure])[:SHOWN]
    more = {name: pair for name, pair in largest if pair[1][measure] > pair[0][measure]}
    if not more:
        return ""
    return (
        "**More evaluations buy most at low false positive rates.** From the best detector within "
        f"{CHEAP:g} evaluations per noise draw to the best at any cost, the TPR at 1 % FPR rises most on "
        f"{_steps(more, measure)}."
    )


def _bought(found: SetFronts, measure: str) -> tuple[Row, Row]:
    """The best of the front for little, or else its cheapest; and its best."""
    front = found.fronts[measure]
    cheap = [row for row in front if evaluations(row) <= CHEAP * row["seeds"]]
    return (cheap or front[:1])[-1], front[-1]


def _steps(pairs: Mapping[str, tuple[Row, Row]], measure: str) -> str:
    return _listed(
        [
            f"`{name}` (from {interval(cheap, measure)} with `{cheap['detector']}` to {interval(best, measure)} with "
            f"`{best['detector']}`, {evaluations(best):.0f} evaluations)"
            for name, (cheap, best) in pairs.items()
        ]
    )


def _products(sets: Sequence[SetFronts]) -> str:
    """Which Jacobian products are on a front."""
    on = Counter(row["detector"] for found in sets for row in found.fronts["auroc"] if _takes_products(row))
    never = {row["detector"] for found in sets for row in _detectors(found) if _takes_products(row)} - set(on)
    if not on:
        return ""
    ranked = sorted(on.items(), key=lambda pair: (-pair[1], pair[0]))
    often = _listed([f"`{name}` ({times})" for name, times in ranked])
    text = (
        "**Where Jacobian products pay.** These detectors with Jacobian products are on a front by AUROC (in brackets, "
        f"on how many of the {len(sets)} sets): {often}."
    )
    names = _listed([f"`{name}`" for name in sorted(never)])
    return text + (f" These are on no front: {names}." if never else "")


def _behind_cheaper(sets: Sequence[SetFronts]) -> str:
    """The seed paper's detector against the score difference."""
    pairs = []
    for found in sets:
        rows = {row["detector"]: row for row in _detectors(found)}
        if {SEED_PAPER, CHEAPER} <= set(rows) and evaluations(rows[CHEAPER]) < evaluations(rows[SEED_PAPER]):
            pairs.append((found.name, rows[SEED_PAPER], rows[CHEAPER]))
    behind = [pair for pair in pairs if pair[1]["auroc"] < pair[2]["auroc"]]
    if not behind:
        return ""
    name, dear, cheap = next((pair for pair in behind if pair[0].endswith("swap")), behind[0])
    return (
        f"**Where they lose.** The Hessian norm of the first step, `{SEED_PAPER}`, has a lower AUROC than the score "
        f"difference `{CHEAPER}`, which costs less, on {len(behind)} of {len(pairs)} sets. For example, on `{name}` it "
        f"has {interval(dear, 'auroc')} for {_count(dear)} evaluations, and `{CHEAPER}` {interval(cheap, 'auroc')} for "
        f"{_count(cheap)}."
    )


def _no_front(sets: Sequence[SetFronts]) -> str:
    """Sets on which a control is as good as all."""
    blind = [found for found in sets if not _rises(found)]
    if not blind:
        return ""
    names = _listed([f"`{found.name}`" for found in blind])
    return (
        f"**Where nothing pays.** On {names} the best of the front is not shown to beat the best control (the interval "
        "of its gain reaches 0). The steps of these fronts are chance."
    )


def _rises(found: SetFronts) -> bool:
    """Whether the best of the front is shown to beat the best control; true where there is none."""
    low = found.fronts["auroc"][-1]["gain_over_control_low"]
    return low is None or low > 0


def _products_table(sets: Sequence[SetFronts]) -> str:
    """A line a detector, the cheapest first."""
    seen: dict[str, list[tuple[SetFronts, Row]]] = {}
    for found in sets:
        for row in _detectors(found):
            if _takes_products(row):
                seen.setdefault(row["detector"], []).append((found, row))
    columns = (
        *left("detector", "most evaluations"),
        *right("sets", "on the front", "behind"),
        *left("cheaper detector"),
    )
    lines = []
    for name, places in sorted(seen.items(), key=lambda pair: (max(evaluations(row) for _, row in pair[1]), pair[0])):
        most = max((row for _, row in places), key=evaluations)
        on = sum(row in found.fronts["auroc"] for found, row in places)
        better = [_best_cheaper(found, row) for found, row in places]
        names = Counter(row["detector"] for row in better if row is not None)
        top = f"{names.most_common(1)[0][0]} ({names.most_common(1)[0][1]})" if names else UNDEFINED
        cost = f"{_count(most)} = {evaluation_parts(most)}"
        lines.append([name, cost, *map(str, (len(places), on, names.total())), top])
    return markdown.draw(Table(columns, lines))


def _best_cheaper(found: SetFronts, row: Row) -> Row | None:
    """Of those that cost less, take no Jacobian product and are at least as good, the best."""
    better = [
        other
        for other in _detectors(found)
        if not _takes_products(other) and evaluations(other) < evaluations(row) and other["auroc"] >= row["auroc"]
    ]
    return max(better, key=lambda other: (other["auroc"], -evaluations(other)), default=None)


def _fronts_table(sets: Sequence[SetFronts], measure: str) -> str:
    columns = (
        *left("sample set", "detector"),
        *right("evaluations"),
        *left("F, JVP and VJP"),
        *right(MEASURES[measure], "group by AUROC"),
    )
    lines = []
    for found in sets:
        if measure not in found.fronts:
            continue
        control = [found.controls[measure]] if measure in found.controls else []
        for index, row in enumerate([*control, *found.fronts[measure]]):
            name = row["detector"] + (r" \*" if is_control(row["access"]) else "")
            of_set = "" if index else found.name
            lines.append([of_set, name, _count(row), evaluation_parts(row), interval(row, measure), group_of(row)])
    return markdown.draw(Table(columns, lines))


def _detectors(found: SetFronts) -> list[Row]:
    """Rows that may stand on a front."""
    return [row for row in found.rows if may_lead(row)]


def _takes_products(row: Row) -> bool:
    return bool(row["jvps"] + row["vjps"] > 0)


def _count(row: Row) -> str:
    return count(evaluations(row))


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
