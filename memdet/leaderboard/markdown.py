"""The leaderboard as a page of Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby

from memdet.detectors.base import is_control
from memdet.detectors.registry import is_outdated
from memdet.leaderboard.cells import is_saturated, spec_of
from memdet.leaderboard.front import front_of
from memdet.leaderboard.front_data import common_prefix, verdict_markdown
from memdet.leaderboard.headlines import headlines_markdown
from memdet.leaderboard.ranking import WorldRanking
from memdet.leaderboard.ranking_text import ranking_markdown
from memdet.results.scale import scale_sentence
from memdet.tables.formats import markdown
from memdet.tables.numbers import UNDEFINED, number
from memdet.tables.rows import Row
from memdet.tables.run_table import (
    COLUMNS,
    COST,
    GROUP,
    INTERVALS,
    cells_of,
    evaluation_parts,
    notes_of,
    table_title,
    unranked,
)
from memdet.tables.table import Table, left, right

Key = tuple[str, int]
NOT_APPLICABLE = "not-applicable"
INTRODUCTION = """\
# Leaderboard

`memdet leaderboard` makes this page from the score files in this directory, and from nothing else. To add a row,
see [docs/submitting.md](../docs/submitting.md). The numbers are also in `leaderboard.json`.

{scale}{verdict}The page that shows all of this is `leaderboard.html`. In the first tables, read a column, not a row.
Detectors stand in the order of their cost, the cheapest first. A cell is an AUROC.

- **bold**: the highest AUROC of a set, and every AUROC whose interval reaches it
- *italics*: not shown to beat the best control, which never calls the model (the interval of the gain reaches 0)
- \\*: a control
- -: the detector is not applicable to the set. Detectors that apply to no set of a table are left out
- empty: not run
- †: a saturated set: at least half of the detectors reach .995. It shows that implementations work, and cannot tell
  detectors apart
- ‡: averages another number of noise seeds than the others of its column, and is not ranked with them
- §: made by a version of the detector that has been corrected since, see
  [Corrections](../docs/findings.md#corrections). Oracles of this kind are not shown
- cost: network forwards (F) and Jacobian products (JVP, VJP) per item, over all its seeds, on the set where it is
  highest
"""

_VERDICT = """\
Methods are judged by their gain over the best control, averaged over questions, by the rules of [the front
page](../docs/statistics.md#the-front-page). [Ranking over worlds](#ranking-over-worlds) shows all ranks. In short:

{cards}
"""

_LEGEND = f"""\
{INTERVALS} {GROUP}
gain: AUROC minus the AUROC of the table's best control. rank corr.: Spearman's correlation of the scores with the
measured share of copies.
F, JVP, VJP: {COST}.
ms / item: time per item over the same seeds, as if the detector ran alone, on the machine that the run's `run.json`
names. seeds: how many noise seeds the scores average.
run: where the scores are."""


def leaderboard_markdown(rows: Sequence[Row], ranking: WorldRanking | None = None) -> str:
    """An overview, what each sample set asks, the ranking over worlds, and a table for each version of each set.

    Args:
        rows: From :func:`~memdet.leaderboard.board.leaderboard_rows`.
        ranking: Of these rows, from :func:`~memdet.leaderboard.ranking.world_ranking`.
    """
    tables = {key: list(group) for key, group in groupby(rows, key=_key)}
    newest = dict(sorted(tables))
    current = [key for key in tables if newest[key[0]] == key[1]]
    prompts = [key for key in current if _has_prompts(key)]
    others = [key for key in current if not _has_prompts(key)]
    run_on = Counter(row["detector"] for key in current for row in tables[key])
    controls = {row["detector"] for key in current for row in tables[key] if is_control(row["access"])}
    common = controls | {label for label, sets in run_on.items() if 2 * sets >= len(current)}
    specs = [spec for key in tables if (spec := spec_of(key)) is not None]
    scale = scale_sentence(spec.model for spec in specs)
    verdict = "" if ranking is None else _VERDICT.format(cards=verdict_markdown(front_of(ranking, rows)))
    parts = [INTRODUCTION.format(scale=scale and f"{scale}\n\n", verdict=verdict)]
    for title, keys in (
        ("Sets of prompts", prompts),
        ("Sets of class labels, images and closed forms", others),
    ):
        if keys:
            parts += [f"## {title}\n", _overview(keys, tables, common) + "\n", _questions(keys, tables) + "\n"]
    if ranking is not None:
        parts.append(ranking_markdown(ranking))
    if headlines := headlines_markdown(rows):
        parts.append(headlines)
    if len(common) < len(run_on):
        parts.append(
            f"{len(run_on) - len(common)} more detectors and variants, run on fewer than half of all sets, stand in "
            "the tables below alone.\n"
        )
    older = [key for key in tables if key not in current]
    parts.append(f"## All rows\n\n{_LEGEND}\n")
    for key in [*prompts, *others, *older]:
        later = f" Superseded by v{newest[key[0]]}." if key in older else ""
        parts.append(f"### {_name(key)}\n\n{_question(key)}{later}\n\n{_full(tables[key])}\n")
    return "\n".join(parts)


def _overview(keys: Sequence[Key], tables: dict[Key, list[Row]], common: set[str]) -> str:
    """AUROC of the common detectors, a column a set."""
    shown: dict[str, dict[Key, Row]] = {}
    for key in keys:
        for row in tables[key]:
            if row["detector"] in common:
                shown.setdefault(row["detector"], {})[key] = row
    shown = {
        label: found for label, found in shown.items() if any(r["status"] != NOT_APPLICABLE for r in found.values())
    }
    prefix = common_prefix([name for name, _ in keys])
    best = {key: max((row["auroc"] or 0.0 for row in tables[key] if not unranked(row)), default=0.0) for key in keys}
    heads = [f"[{_short(key, prefix)}](#{_anchor(key)}){'†' if is_saturated(tables[key]) else ''}" for key in keys]
    rows = []
    for label in sorted(shown, key=lambda label: (*_order(shown[label].values()), label)):
        found = shown[label]
        control = is_control(next(iter(found.values()))["access"])
        cells = [_cell(found[key], best[key]) if key in found else "" for key in keys]
        rows.append([label + (r" \*" if control else ""), _cost(found.values()), *cells])
    return markdown.draw(Table((*left("AUROC", "cost"), *right(*heads)), rows))


def _questions(keys: Sequence[Key], tables: dict[Key, list[Row]]) -> str:
    lines = []
    for key in keys:
        rows = tables[key]
        controls = [row for row in rows if is_control(row["access"]) and row["auroc"] is not None]
        top = f"{controls[0]['detector']} {number(controls[0]['auroc'])}" if controls else UNDEFINED
        counts = [str(rows[0]["n_positive"]), str(rows[0]["n_negative"])]
        lines.append([f"[{_name(key)}](#{_anchor(key)})", _question(key), *counts, top])
    columns = (*left("sample set", "asks"), *right("memorized", "not"), *left("best control"))
    return markdown.draw(Table(columns, lines))


def _full(rows: Sequence[Row]) -> str:
    table = Table(
        (*COLUMNS, *right("seeds"), *left("run")),
        [[*_marked(row), str(row["seeds"]), f"[{row['run']}]({row['run']})"] for row in rows],
        notes=notes_of(rows),
    )
    return markdown.document([table_title(rows).partition(": ")[2], table])


def _marked(row: Row) -> list[str]:
    """Its cells; the name says where the detector has been corrected since."""
    name, *cells = cells_of(row)
    return [f"{name} §" if _is_outdated(row) else name, *cells]


def _is_outdated(row: Row) -> bool:
    return not is_control(row["access"]) and is_outdated(row["detector"], row["detector_version"])


def _cell(row: Row, best: float) -> str:
    if row["auroc"] is None:
        return UNDEFINED if row["status"] == NOT_APPLICABLE else row["status"]
    text = number(row["auroc"])
    high, gain = row["auroc_high"], row["gain_over_control_low"]
    if _is_outdated(row):
        text += "§"
    if unranked(row):
        return f"{text}‡"
    if not is_control(row["access"]) and gain is not None and gain <= 0:
        return f"*{text}*"
    return f"**{text}**" if row["auroc"] == best or (high is not None and high >= best) else text


def _dearest(rows: Iterable[Row]) -> Row:
    return max(rows, key=_evaluations)


def _evaluations(row: Row) -> float:
    return float(row["forwards"] + row["jvps"] + row["vjps"]) * float(row["seeds"])


def _order(rows: Iterable[Row]) -> tuple[bool, float]:
    row = _dearest(rows)
    return not is_control(row["access"]), _evaluations(row)


def _cost(rows: Iterable[Row]) -> str:
    return evaluation_parts(_dearest(rows))


def _key(row: Row) -> Key:
    return row["sample_set"], row["sample_set_version"]


def _name(key: Key) -> str:
    return f"{key[0]} v{key[1]}"


def _anchor(key: Key) -> str:
    """What GitHub makes of the heading."""
    return _name(key).lower().replace(" ", "-").replace(".", "")


def _short(key: Key, prefix: str) -> str:
    return key[0].removeprefix(prefix)


def _question(key: Key) -> str:
    spec = spec_of(key)
    return f"{spec.title}." if spec else "A sample set that this version of memdet does not have."


def _has_prompts(key: Key) -> bool:
    spec = spec_of(key)
    return spec is not None and spec.columns.prompt is not None
