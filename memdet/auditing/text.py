"""An audit as text: for a terminal, as Markdown or JSON."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from memdet.io_utils import printable
from memdet.tables.run_table import NOT_RESOLVABLE, interval, markdown_line, number

Audit = dict[str, Any]
LEGEND = (
    "95 % intervals in brackets: bootstrap over families of near-duplicates. allowed: the AUROC that the control may "
    "reach; p: permutation over families, adjusted by Holm over the controls of the set. A set is flagged where a "
    "control has p below .01 and its interval lies beyond what is allowed."
)


@dataclass(frozen=True)
class _Table:
    title: str
    header: list[str]
    rows: list[list[str]]
    numbers: list[bool] = field(default_factory=list)  # which columns are aligned right


def to_json(audit: Audit) -> str:
    """The whole audit; undefined numbers are null."""
    return json.dumps(audit, indent=2)


def to_markdown(audit: Audit) -> str:
    """A heading line, the tables, and the verdict."""
    parts = [f"**{_heading(audit)}**"]
    for table in _tables(audit):
        rule = ["--:" if right else "---" for right in table.numbers]
        lines = [markdown_line(table.header), markdown_line(rule), *map(markdown_line, table.rows)]
        parts.append("\n".join([f"{table.title}:", "", *lines] if table.title else lines))
    return "\n\n".join([*parts, *_notes(audit), f"Verdict: {printable(audit['verdict'])}.", LEGEND])


def to_table(audit: Audit) -> str:
    """For a terminal: as wide as its cells, which are never cut or wrapped."""
    parts = [_heading(audit), *map(_drawn, _tables(audit)), *_notes(audit), LEGEND, printable(audit["verdict"])]
    return "\n\n".join(parts)


def _drawn(table: _Table) -> str:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    output = io.StringIO()
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for header, right in zip(table.header, table.numbers, strict=True):
        shown.add_column(header, justify="right" if right else "left", no_wrap=True)
    for row in table.rows:
        shown.add_row(*row)
    Console(width=1_000, file=output, highlight=False, markup=False).print(shown)
    lines = [line.rstrip() for line in output.getvalue().splitlines()]
    return "\n".join([*([table.title, ""] if table.title else []), *filter(None, lines)])


def summary(audits: Sequence[Audit]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a table of several audits: one a set, the AUROC of each control that applies somewhere."""
    names = [
        name
        for name in dict.fromkeys(row["name"] for audit in audits for row in audit["controls"])
        if name != "random" and any(r["name"] == name and r["status"] == "ok" for a in audits for r in a["controls"])
    ]
    rows = []
    for audit in audits:
        by_name = {row["name"]: row for row in audit["controls"]}
        rows.append(
            [
                printable(audit["sample_set"]),
                str(audit["n_positive"]),
                str(audit["n_negative"]),
                f"{audit['n_effective']:.1f}",
                *(interval(by_name[name], "auroc") if name in by_name else "-" for name in names),
                audit["verdict"].partition(":")[0],
            ]
        )
    return ["sample set", "memorized", "not", "effective", *names, "verdict"], rows


def summary_markdown(audits: Sequence[Audit]) -> str:
    """The table of several audits in Markdown."""
    header, rows = summary(audits)
    rule = ["---", *["--:"] * (len(header) - 2), "---"]
    return "\n".join([markdown_line(header), markdown_line(rule), *map(markdown_line, rows), "", LEGEND])


def summary_table(audits: Sequence[Audit]) -> str:
    """The table of several audits for a terminal, with their verdicts in full."""
    header, rows = summary(audits)
    lines = _drawn(_Table("", header, rows, [False, *[True] * (len(header) - 2), False]))
    verdicts = [f"{printable(audit['sample_set'])}: {printable(audit['verdict'])}" for audit in audits]
    return "\n".join([lines, "", LEGEND, "", *verdicts])


SUMMARIES: dict[str, Callable[[Sequence[Audit]], str]] = {
    "table": summary_table,
    "json": lambda audits: json.dumps(list(audits), indent=2),
    "markdown": summary_markdown,
}
FORMATS: dict[str, Callable[[Audit], str]] = {"table": to_table, "json": to_json, "markdown": to_markdown}


def _heading(audit: Audit) -> str:
    families = f"{audit['n_clusters']} families"
    return (
        f"{printable(audit['sample_set'])}: {audit['n_positive']} memorized, {audit['n_negative']} not, {families}, "
        f"effective number {audit['n_effective_positive']:.1f} and {audit['n_effective_negative']:.1f}"
    )


def _tables(audit: Audit) -> list[_Table]:
    tables = [_controls(audit)]
    if audit["strata"]:
        tables.append(_strata(audit))
    if "shifts" in audit:
        tables += [_shifts(audit), _words(audit)]
        if audit["largest_families"]:
            tables.append(_families(audit))
    return tables


def _controls(audit: Audit) -> _Table:
    rows = []
    for row in audit["controls"]:
        resolvable = row["status"] != "ok" or row["tpr_at_1_fpr"] is not None
        rows.append(
            [
                row["name"],
                interval(row, "auroc"),
                interval(row, "tpr_at_1_fpr") if resolvable else NOT_RESOLVABLE,
                "-" if row["allowed"] is None else number(row["allowed"]),
                "-" if row["p_value"] is None else number(row["p_value"]),
                "tells" if row["flagged"] else row["status"],
            ]
        )
    header = ["control", "AUROC", "TPR at 1 % FPR", "allowed", "p", "status"]
    return _Table("", header, rows, [False, True, True, True, True, False])


def _strata(audit: Audit) -> _Table:
    names = [row["name"] for row in audit["strata"][0]["controls"]]
    rows = [
        [
            printable(part["stratum"]),
            "memorized" if part["label"] else "not",
            str(part["items"]),
            f"{part['n_effective']:.1f}",
            *(interval(row, "auroc") for row in part["controls"]),
        ]
        for part in audit["strata"]
    ]
    title = "AUROC of each stratum against the whole other class"
    header = ["stratum", "class", "items", "effective", *names]
    return _Table(title, header, rows, [False, False, *[True] * (len(names) + 2)])


def _shifts(audit: Audit) -> _Table:
    rows = [
        [row["measure"], f"{row['memorized']:.3g}", f"{row['control']:.3g}", number(row["auroc"])]
        for row in audit["shifts"]
    ]
    words = audit["vocabulary"]
    for name, key in (
        ("distinct words", "distinct"),
        ("of these also in the other class", "distinct_in_other"),
        ("of running text also in the other class", "running_in_other"),
    ):
        pair = [words[side][key] for side in ("memorized", "control")]
        rows.append([name, *("-" if v is None else f"{v:.3g}" if v <= 1 else f"{v:,}" for v in pair), ""])
    header = ["prompts, mean or share", "memorized", "not", "AUROC"]
    return _Table("How the prompts differ", header, rows, [False, True, True, True])


def _words(audit: Audit) -> _Table:
    rows = [
        [printable(row["word"]), number(row["memorized"]), number(row["control"])]
        for row in audit["vocabulary"]["telling"]
    ]
    return _Table("Words that tell most, share of families", ["word", "memorized", "not"], rows, [False, True, True])


def _families(audit: Audit) -> _Table:
    rows = [
        [str(row["memorized"]), str(row["control"]), printable(" ".join(row["words"])) or "-"]
        for row in audit["largest_families"]
    ]
    title = f"Largest families, linked by pairs that share at least {audit['similarity']:.0%} of their words"
    return _Table(title, ["memorized", "not", "words in common"], rows, [True, True, False])


def _notes(audit: Audit) -> list[str]:
    """Reasons why controls do not apply, and duplicates."""
    by_message: dict[str, list[str]] = {}
    for row in audit["controls"]:
        if row["message"]:
            by_message.setdefault(f"{row['status']}: {printable(row['message'])}", []).append(row["name"])
    notes = [f"{', '.join(names)}: {message}." for message, names in by_message.items()]
    if "duplicates" in audit:
        found = audit["duplicates"]
        notes.append(
            f"Repeated prompts: {found['exact_memorized']} memorized, {found['exact_control']} not; in both classes: "
            f"{found['exact_across']}, with near-duplicates {found['near_across']}."
        )
    return notes
