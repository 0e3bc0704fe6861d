"""An audit as text: for a terminal, as Markdown or JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from memdet.auditing.detectable import ASSUMED, detectable, detectable_sentence
from memdet.io_utils import json_text, printable
from memdet.tables.formats import markdown, text
from memdet.tables.numbers import UNDEFINED, interval, number
from memdet.tables.run_table import NOT_RESOLVABLE
from memdet.tables.table import Column, Table, left, notes_by_message, right

Audit = dict[str, Any]
LEGEND = (
    "95 % intervals in brackets: bootstrap over families of near-duplicates. allowed: the AUROC that the control may "
    "reach; p: permutation over families, adjusted by Holm over the controls of the set. A set is flagged where a "
    "control has p below .01 and its interval lies beyond what is allowed."
)

LEAST = f"Least AUROC: the smallest that so many items tell from .5 ({ASSUMED.partition(';')[0]})."


def to_json(audit: Audit) -> str:
    """The whole audit; undefined numbers are null."""
    return json_text(audit)


def to_markdown(audit: Audit) -> str:
    """A heading line, the tables, and the verdict."""
    first, *others = _tables(audit)
    titled = [block for table in others for block in (f"{table.title}:", replace(table, title=""))]
    return markdown.document([first, *titled, *_notes(audit), f"Verdict: {printable(audit['verdict'])}.", LEGEND])


def to_table(audit: Audit) -> str:
    """For a terminal."""
    sizes = audit["n_effective_positive"], audit["n_effective_negative"]
    told = f"With so many items {detectable_sentence(*sizes)}."
    return text.on_screen([*_tables(audit), *_notes(audit), told, LEGEND, printable(audit["verdict"])])


def summary(audits: Sequence[Audit]) -> Table:
    """A line for each set, the AUROC of each control that applies somewhere."""
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
                audit["sample_set"],
                str(audit["n_positive"]),
                str(audit["n_negative"]),
                f"{audit['n_effective']:.1f}",
                *(interval(by_name[name], "auroc") if name in by_name else UNDEFINED for name in names),
                audit["verdict"].partition(":")[0],
            ]
        )
    columns = (
        *left("sample set"),
        *right("memorized", "not", drop=len(names) + 1),
        *right("effective", drop=len(names) + 2),
        *(Column(name, "right", drop=len(names) - i, brief=name) for i, name in enumerate(names)),
        *left("verdict"),
    )
    return Table(columns, rows)


def summary_markdown(audits: Sequence[Audit]) -> str:
    """The table of several audits in Markdown."""
    return markdown.document([summary(audits), LEGEND])


def summary_table(audits: Sequence[Audit]) -> str:
    """The table of several audits for a terminal, with their verdicts in full."""
    verdicts = [printable(f"{audit['sample_set']}: {audit['verdict']}") for audit in audits]
    table = summary(audits)
    least = [
        number(detectable(audit["n_effective_positive"], audit["n_effective_negative"])["smallest_auroc"])
        for audit in audits
    ]
    *columns, verdict = table.columns
    columns += [Column("least AUROC", "right", drop=len(columns) + 3, best="low"), verdict]
    rows = [[*row[:-1], area, row[-1]] for row, area in zip(table.rows, least, strict=True)]
    return text.on_screen([Table(columns, rows), LEGEND, LEAST, "\n".join(verdicts)])


SUMMARIES: dict[str, Callable[[Sequence[Audit]], str]] = {
    "table": summary_table,
    "json": lambda audits: json_text(list(audits)),
    "markdown": summary_markdown,
}
FORMATS: dict[str, Callable[[Audit], str]] = {"table": to_table, "json": to_json, "markdown": to_markdown}


def _heading(audit: Audit) -> str:
    return (
        f"{audit['sample_set']}: {audit['n_positive']} memorized, {audit['n_negative']} not, "
        f"{audit['n_clusters']} families, effective number {audit['n_effective_positive']:.1f} and "
        f"{audit['n_effective_negative']:.1f}"
    )


def _tables(audit: Audit) -> list[Table]:
    """The first one has the heading of all."""
    tables = [_controls(audit)]
    if audit["strata"]:
        tables.append(_strata(audit))
    if "shifts" in audit:
        tables += [_shifts(audit), _words(audit)]
        if audit["largest_families"]:
            tables.append(_families(audit))
    return tables


def _controls(audit: Audit) -> Table:
    rows = []
    for row in audit["controls"]:
        resolvable = row["status"] != "ok" or row["tpr_at_1_fpr"] is not None
        rows.append(
            [
                row["name"],
                interval(row, "auroc"),
                interval(row, "tpr_at_1_fpr") if resolvable else NOT_RESOLVABLE,
                number(row["allowed"]),
                number(row["p_value"]),
                "tells" if row["flagged"] else row["status"],
            ]
        )
    columns = (
        *left("control"),
        *right("AUROC"),
        *right("TPR at 1 % FPR", drop=1, brief="TPR@1%"),
        *right("allowed", drop=2),
        *right("p", drop=3, best="low"),
        *left("status"),
    )
    return Table(columns, rows, _heading(audit))


def _strata(audit: Audit) -> Table:
    names = [row["name"] for row in audit["strata"][0]["controls"]]
    rows = [
        [
            part["stratum"],
            "memorized" if part["label"] else "not",
            str(part["items"]),
            f"{part['n_effective']:.1f}",
            *(interval(row, "auroc") for row in part["controls"]),
        ]
        for part in audit["strata"]
    ]
    shown = (Column(name, "right", drop=len(names) - i, brief=name) for i, name in enumerate(names))
    columns = (*left("stratum"), *left("class", drop=len(names) + 1), *right("items", "effective"), *shown)
    return Table(columns, rows, "AUROC of each stratum against the whole other class")


def _shifts(audit: Audit) -> Table:
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
        rows.append([name, *(UNDEFINED if v is None else f"{v:.3g}" if v <= 1 else f"{v:,}" for v in pair), ""])
    columns = (*left("prompts, mean or share"), *right("memorized", "not", "AUROC"))
    return Table(columns, rows, "How the prompts differ")


def _words(audit: Audit) -> Table:
    rows = [[row["word"], number(row["memorized"]), number(row["control"])] for row in audit["vocabulary"]["telling"]]
    return Table((*left("word"), *right("memorized", "not")), rows, "Words that tell most, share of families")


def _families(audit: Audit) -> Table:
    rows = [
        [str(row["memorized"]), str(row["control"]), " ".join(row["words"]) or UNDEFINED]
        for row in audit["largest_families"]
    ]
    title = f"Largest families, linked by pairs that share at least {audit['similarity']:.0%} of their words"
    return Table((*right("memorized", "not"), *left("words in common", least=24)), rows, title)


def _notes(audit: Audit) -> list[str]:
    """Reasons why controls do not apply, and duplicates."""
    notes = notes_by_message(
        (row["name"], f"{row['status']}: {printable(row['message'])}") for row in audit["controls"] if row["message"]
    )
    if "duplicates" in audit:
        found = audit["duplicates"]
        notes.append(
            f"Repeated prompts: {found['exact_memorized']} memorized, {found['exact_control']} not; in both classes: "
            f"{found['exact_across']}, with near-duplicates {found['near_across']}."
        )
    return notes
