"""The table of the README: all detectors of the quick suite on one sample set, and the best control.

``python -m tests.helpers.readme_table`` prints it from the committed run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from memdet.tables import report_rows
from memdet.tables.numbers import count, interval
from tests.helpers.source import ROOT

SET = "tiny-sd-a-verbatim"
HEADER = "| detector | group | AUROC | TPR at 1 % FPR | evaluations per prompt |\n| --- | --: | --: | --: | --: |"


def ranked_rows(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The detectors and the best control of :data:`SET`, the highest AUROC first."""
    rows = [row for row in rows if row["sample_set"] == SET]
    kept = [row for row in rows if row["access"] not in {"none", "text"} or row["detector"] == row["best_control"]]
    best = {row["best_control"] for row in kept if row["best_control"]}
    assert len(best) == 1
    kept += [row for row in rows if row["detector"] in best and row not in kept]
    return sorted(kept, key=lambda row: -row["auroc"])


def line(row: Mapping[str, Any]) -> str:
    """One line of the table; a control has a star, and a link leads to every detector."""
    name, control = row["detector"], row["access"] in {"none", "text"}
    anchor = f"[{name}](docs/detectors.md#{name.split('@')[0]})" + (" \\*" if control else "")
    evaluations = row["seeds"] * (row["forwards"] + row["jvps"] + row["vjps"])
    cells = [anchor, str(row["tie_group"]), interval(row, "auroc"), interval(row, "tpr_at_1_fpr"), count(evaluations)]
    return "| " + " | ".join(cells) + " |"


def table() -> str:
    """The table, from the committed run."""
    return "\n".join([HEADER, *map(line, ranked_rows(report_rows([ROOT / "results" / "quick" / "reference"])))])


if __name__ == "__main__":
    print(table())
