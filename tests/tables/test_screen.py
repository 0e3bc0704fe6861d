"""Tables on a screen: as wide as it is, no row broken, in the order and number that a reader asks for."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.cells import cell_len

from memdet.errors import UserError
from memdet.tables import FORMATS as RUN
from memdet.tables import fitting, report_rows, screen
from memdet.tables.formats import text
from memdet.tables.table import Column, Table, left, right

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results"
COLUMNS = (
    *left("detector"),
    *right("AUROC"),
    *right("gain over control", drop=3, brief="gain"),
    *right("F", "JVP", drop=2, best="low"),
    *right("ms", drop=1, best="low"),
    *left("status"),
)
ROWS = [
    ["wen2024", ".916 [.865, .949]", "+.358 [.2, .4]", "8", "0", "1.25", "ok"],
    ["jeon2025@t=200,power=1", ".842 [.7, .9]", "+.284 [.1, .3]", "1,024", "16", "-", "ok"],
    ["broken", "-", "-", "-", "-", "-", "error"],
    ["random *", ".467 [.4, .5]", "-", "0", "0", ".01", "ok"],
]
TABLE = Table(COLUMNS, ROWS, "small v1", tail=1)


def small(name):
    """One table of each kind that a command draws, from files that are committed or numbers made up by hand."""
    if name == "report":
        rows = json.loads((RESULTS / "leaderboard.json").read_text())["rows"]
        return RUN["table"]([row for row in rows if row["run"] == "quick/reference"])
    if name == "compare":
        from memdet.tables.comparison_text import FORMATS

        pair = {"sample_set": "s", "sample_set_version": 1, "stratum": None, "first_run": "r", "second_run": "r"}
        pair |= {"first": "jeon2024-eigenvalues@statistic=count-below,t=200", "second": "asthana2026", "status": "ok"}
        pair |= {"n_positive": 9, "n_negative": 9, "n_effective": 9.0, "first_auroc": 0.5, "second_auroc": 0.75}
        pair |= {"difference": -0.25, "difference_low": -0.5, "difference_high": 0.125, "p": 0.5, "p_adjusted": 1.0}
        return FORMATS["table"]([pair | {"message": "a long message " * 9}])
    if name == "check":
        from memdet.gate.check import GateResult, GateRow
        from memdet.gate.text import GATE_FORMATS
        from memdet.metrics import Interval

        of_row = {"sample_set": "tiny-sd-a-verbatim-guided", "before": 0.5, "after": 0.25, "drift": 1e-3}
        row = GateRow(
            **of_row, detector="jeon2024-eigenvalues@statistic=count-below,t=200", control=False, items=9, seeds=(0,),
            p=0.001,
            change=Interval(-0.25, -0.5, -0.125), p_adjusted=0.001, allowed=1e-5, failed=("drop", "drift"),
        )  # fmt: skip
        found = GateResult(
            run="a", baseline="b", tolerance=0.01, alpha=0.05, tests=1, rows=(row,), failures=(), notes=()
        )
        return GATE_FORMATS["table"](found)
    if name == "by-draws":
        from memdet.tables.by_draws import FORMATS

        row = {"run": "r", "sample_set": "s", "sample_set_version": 1, "detector": "jeon2024-eigenvalues@t=200"}
        row |= {"auroc": 0.5, "auroc_low": 0.25, "auroc_high": 0.75, "sd": 0.125}
        return FORMATS["table"]([row | {"n": 2**power} for power in range(8)])
    if name == "by-time":
        from memdet.tables.by_time import FORMATS

        row = {"run": "r", "sample_set": "s", "sample_set_version": 1, "stratum": None, "access": "score", "seeds": 2}
        row |= {"n_positive": 4, "n_negative": 4, "n_effective": 4.0, "auroc_low": 0.25, "auroc_high": 0.75}
        times = ["", *(f"@t={t}" for t in range(50, 1000, 50))]
        return FORMATS["table"]([row | {"detector": f"hessian-trace{t}", "auroc": 0.5} for t in times])
    if name == "by-dose":
        from memdet.tables.by_dose import FORMATS

        ends = {"extraction_at_75": 0.4, "extraction_at_75_low": 0.25, "extraction_at_75_high": 0.5, "reached": "yes"}
        ends |= {"lowest_extraction": 0.125, "highest_extraction": 1.0, "n_negative": 60, "access": "gradient"}
        row = {"run": "r", "sample_set": "s", "sample_set_version": 1, "detector": "jeon2024-eigenvalues@t=200"} | ends
        row |= {"auroc": 0.5, "auroc_low": 0.25, "auroc_high": 0.75, "n_positive": 9, "extraction": 0.25}
        return FORMATS["table"]([row | {"stratum": f"copies-{copies}"} for copies in (4, 16, 64)])
    if name in {"audit", "audits"}:
        from memdet.auditing.text import FORMATS, SUMMARIES

        audits = [json.loads(path.read_text()) for path in sorted((RESULTS / "audits").iterdir())]
        return SUMMARIES["table"](audits) if name == "audits" else "\n".join(map(FORMATS["table"], audits))
    if name == "scan":
        from memdet.scan.text import to_table

        return to_table(json.loads((RESULTS / "scan" / "tiny-sd-a" / "run" / "scan.json").read_text()))
    if name == "localize":
        from memdet.localization.localization import to_table as drawn

        return drawn(json.loads((RESULTS / "localization" / "tiny-sd-a-template.json").read_text()))
    if name == "bench":
        from memdet.benching.throughput_table import read_throughput, throughput_table

        path = RESULTS / "benchmarks" / "throughput-tiny-sd-a-cpu.json"
        return throughput_table(read_throughput(json.loads(path.read_text()), str(path)), "table")
    if name == "numerics":
        from memdet.benching.numerics.audit import Audit, Deviation
        from memdet.benching.numerics.table import numerics_table

        measured = [
            Deviation(product, t, dtype, "efficient", "fd", errors=[1e-3, 8e-3])
            for product in ("J_c", "J_D")
            for t in (981, 481)
            for dtype in ("float32", "bfloat16")
        ]
        audit = Audit("m", "s", 3, "cpu", 2, "2.0", [1, 1, 0, 0], [981, 481], measured)
        return numerics_table(audit, "table")
    raise AssertionError(name)


TABLES = (
    "report", "compare", "check", "by-draws", "by-time", "by-dose", "audit", "audits", "scan", "localize",
    "bench", "numerics",
)  # fmt: skip


@pytest.mark.parametrize("width", [80, 60])
@pytest.mark.parametrize("name", TABLES)
def test_every_table_fits_the_screen(name, width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    drawn = small(name)
    assert [line for line in drawn.splitlines() if cell_len(line) > width] == []


@pytest.mark.parametrize("name", ["report", "compare", "check", "audits", "bench", "scan"])
def test_no_row_is_broken(name, monkeypatch):
    """Between the rule below the headers and the empty line after the table stand as many lines at any width."""
    monkeypatch.setenv("COLUMNS", "80")
    narrow = small(name)
    monkeypatch.delenv("COLUMNS")
    assert rows_of_tables(narrow) == rows_of_tables(small(name))


def rows_of_tables(drawn):
    """How many lines each table has, and with what they begin."""
    counts, count = [], None
    for line in drawn.splitlines():
        if set(line.strip()) == {"─"}:
            count = 0
        elif count is not None and not line.strip():
            counts.append(count)
            count = None
        elif count is not None:
            count += 1
    return counts


@pytest.mark.parametrize("kind", ["detectors", "mitigations", "sets", "samples", "models", "suites"])
def test_lists_fit_the_screen(kind, monkeypatch, capsys):
    from memdet.cli import group

    monkeypatch.setenv("COLUMNS", "80")
    group.main(["list", kind], standalone_mode=False)
    lines = capsys.readouterr().out.splitlines()
    group.main(["list", kind, "--wide", "--format", "json"], standalone_mode=False)
    rows = lines[: lines.index("")] if "" in lines else lines
    assert len(rows) == 1 + len(json.loads(capsys.readouterr().out))
    assert max(map(cell_len, lines)) <= 80


@pytest.mark.parametrize("width", range(40, 121, 7))
def test_any_table_fits_any_screen(width):
    """Also one that declares nothing, whatever its cells are."""
    rng = np.random.default_rng(width)
    for _ in range(20):
        n = int(rng.integers(1, 12))
        columns = [
            Column("h" * int(rng.integers(1, 20)), ("left", "right")[int(rng.integers(2))], int(rng.integers(0, 4)))
            for _ in range(n)
        ]
        rows = [["寿" * int(rng.integers(0, 12)) + "x" * int(rng.integers(1, 30)) for _ in range(n)] for _ in range(3)]
        if columns[0].align == "right":
            columns[0] = replace(columns[0], align="left")
        lines = text.draw(Table(columns, rows), width=width).splitlines()
        assert max(map(cell_len, lines)) <= width
        assert len(lines[2:5]) == 3


def test_columns_leave_in_the_order_that_they_declare():
    kept = [fitting.fitted(TABLE, width, 3).headers for width in (200, 100, 84, 75, 55)]
    assert kept[0] == kept[1] == ["detector", "AUROC", "gain over control", "F", "JVP", "ms", "status"]
    assert kept[2] == ["detector", "AUROC", "gain", "F", "JVP", "ms", "status"]
    assert kept[3] == ["detector", "AUROC", "gain", "F", "JVP", "status"]
    assert kept[4] == ["detector", "AUROC", "status"]
    notes = fitting.fitted(TABLE, 75, 3).notes
    assert notes == ["Left out on this narrow screen: ms, intervals of gain over control. --wide shows all columns."]


def test_intervals_come_back_where_columns_have_left():
    table = Table((*left("a"), *right("b", drop=2, brief="b"), *right("c" * 30, drop=1)), [["x", ".5 [.4, .6]", "1"]])
    found = fitting.fitted(table, 20, 3)
    assert (found.headers, list(map(list, found.rows))) == (["a", "b"], [["x", ".5 [.4, .6]"]])


def test_a_column_of_dashes_leaves_first():
    table = Table((*left("a"), *right("dashes", drop=9), *right("numbers", drop=1)), [["x", "-", "1"], ["y", "", "2"]])
    assert fitting.fitted(table, 14, 3).headers == ["a", "numbers"]


def test_sentences_are_cut_before_columns_leave():
    table = Table((*left("a"), *left("title", least=10), *right("n", drop=1)), [["x", "one two three four five", "12"]])
    found = fitting.fitted(table, 24, 3)
    assert (found.headers, found.rows) == (["a", "title", "n"], [["x", "one two three…", "12"]])
    assert fitting.fitted(table, 99, 3) is table


def test_wide_shows_all(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert len(text.on_screen([TABLE]).splitlines()[2]) <= 80
    with screen.shown(screen.View(wide=True)):
        assert text.on_screen([TABLE]) == text.document([TABLE])


def test_a_pipe_gets_all_columns(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert screen.width() is None
    for said, width in (("100", 100), ("7", screen.NARROWEST), ("0", None), ("wide", None)):
        monkeypatch.setenv("COLUMNS", said)
        assert screen.width() == width


def names(table):
    return [row[0] for row in table.rows]


def arranged(**view):
    return fitting.arranged([TABLE], screen.View(**view))[0]


def test_rows_in_the_order_of_a_column():
    assert names(arranged(sort="auroc")) == ["wen2024", "jeon2025@t=200,power=1", "broken", "random *"]
    assert names(arranged(sort="F")) == ["wen2024", "jeon2025@t=200,power=1", "broken", "random *"]
    assert names(arranged(sort="ms")) == ["wen2024", "jeon2025@t=200,power=1", "broken", "random *"]
    assert names(arranged(sort="detector")) == ["broken", "jeon2025@t=200,power=1", "wen2024", "random *"]
    assert names(arranged(sort="jv"))[:2] == ["wen2024", "jeon2025@t=200,power=1"]


def test_numbers_are_sorted_as_numbers():
    cells = ["< .001", "1,024", "-.5", "-", "9", "+.25 [.1, .3]", "2e-03", "64 of 64"]
    table = Table(right("n"), [[cell] for cell in cells])
    (found,) = fitting.arranged([table], screen.View(sort="n"))
    assert names(found) == ["1,024", "64 of 64", "9", "+.25 [.1, .3]", "2e-03", "< .001", "-.5", "-"]


def test_limit_counts_rows_and_top_leaves_the_controls():
    assert names(arranged(limit=2)) == ["wen2024", "jeon2025@t=200,power=1"]
    assert names(arranged(top=1)) == ["wen2024", "random *"]
    assert arranged(top=1).notes == ["2 rows more; leave out --limit and --top to see all."]
    assert arranged(limit=9).notes == []
    assert names(arranged(sort="detector", top=1, limit=1)) == ["broken"]


def test_a_column_that_no_table_has_is_refused():
    with pytest.raises(UserError, match="no table has a column `sort` 'rank': they have detector, AUROC"):
        arranged(sort="rank")
    assert fitting.arranged(["a paragraph"], screen.View(sort="rank")) == ["a paragraph"]


def test_the_best_stand_first_and_controls_last(write_run, tmp_path):
    rows = report_rows([write_run(tmp_path)])
    better = rows[0] | {"detector": "better", "auroc": 0.99}
    failed = rows[0] | {"detector": "failed", "auroc": None, "status": "error", "message": "it broke"}
    control = next(row for row in rows if row["access"] == "none") | {"auroc": 1.0}
    drawn = RUN["table"]([control, failed, rows[0], better]).splitlines()
    found = [line.split()[0] for line in drawn[4:8]]
    assert found == ["better", rows[0]["detector"], "failed", "random"]


def test_paragraphs_are_wrapped_and_words_are_whole():
    paragraph = "  one two three " + "x" * 60 + " four"
    lines = text.document([paragraph], width=40).splitlines()
    assert lines == ["  one two three", "  " + "x" * 60, "  four"]
    assert text.document([paragraph]) == paragraph
