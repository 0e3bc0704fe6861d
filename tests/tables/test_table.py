"""The drawer of tables: what each format makes of one table, to the letter."""

import csv
import io
import math
import subprocess
import sys

import pytest

from memdet.tables import numbers
from memdet.tables.formats import latex, markdown, text
from memdet.tables.formats.csv import to_csv
from memdet.tables.table import Column, Table, left, notes_by_message, right

COLUMNS = (*left("name"), *right("AUROC", "F"), *left("status"))
ROWS = [["wen_2024 *", ".973 [.951, .990]", "2", "ok"], ["a|b", "-.5", "1,000", "not run"]]
TABLE = Table(COLUMNS, ROWS, "small v1: 4 & 4", ["a|b: no seed.", "second."])
NASTY = "x\x1b[2J\ny\u202ez\u3000"
SHOWN = r"x\x1b[2J\ny\u202ez "


def test_columns_have_sides():
    assert COLUMNS[0] == Column("name", "left")
    assert COLUMNS[1] == Column("AUROC", "right")
    assert TABLE.headers == ["name", "AUROC", "F", "status"]


def test_a_row_has_a_cell_a_column():
    with pytest.raises(ValueError, match="1 cells under 2 columns"):
        Table(left("a", "b"), [["only"]])


def test_text():
    assert text.draw(TABLE).splitlines() == [
        "small v1: 4 & 4",
        "",
        " name                     AUROC       F   status",
        " " + "─" * 48,
        " wen_2024 *   .973 [.951, .990]       2   ok",
        " a|b                        -.5   1,000   not run",
        "",
        "a|b: no seed.",
        "second.",
    ]


def test_text_without_a_rule_is_a_list_of_columns():
    assert text.draw(Table(COLUMNS, ROWS), ruled=False).splitlines() == [
        "name                    AUROC      F  status",
        "wen_2024 *  .973 [.951, .990]      2  ok",
        "a|b                       -.5  1,000  not run",
    ]


def test_a_rule_after_a_row():
    table = Table(right("n"), [["1"], ["22"], ["3"]], rule_after=2)
    assert text.draw(table).splitlines() == ["  n", " ──", "  1", " 22", "", "  3"]
    assert markdown.draw(table).splitlines() == ["| n |", "| --: |", "| 1 |", "| 22 |", "| 3 |"]
    lines = latex.draw(table, "n", "").splitlines()
    assert lines[lines.index(r"22 \\") :][:3] == [r"22 \\", r"\midrule", r"3 \\"]
    for unseen in (0, 3, 9, None):
        assert text.draw(Table(right("n"), table.rows, rule_after=unseen)).splitlines()[2:] == ["  1", " 22", "  3"]


def test_text_never_cuts_or_wraps():
    rows = [["a " * 2_000 + ".", "wide \u65e5\u672c " * 50 + "."]]
    first, second = rows[0]
    line = text.draw(Table(left("one", "two"), rows, title="t " * 500 + "."))
    assert f" {first}   {second}" in line.splitlines()
    assert line.splitlines()[0] == "t " * 500 + "."


def test_text_has_no_colours(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "10")
    assert "\x1b" not in text.draw(TABLE)
    assert text.draw(Table(left(":smile:"), [["[red]x[/red]"]])).splitlines()[0::2] == [" :smile:", " [red]x[/red]"]


def test_wide_letters_keep_columns_in_line():
    lines = text.draw(Table((*left("a"), *right("b")), [["\u65e5\u672c", "1"], ["xxxx", "2"]])).splitlines()
    assert lines[2:] == [" \u65e5\u672c   1", " xxxx   2"]


def test_shortened_counts_places_of_a_terminal():
    assert text.shortened("abcdef", 6) == "abcdef"
    assert text.shortened("abcdefg", 6) == "abcde…"
    assert text.shortened("\u65e5\u672c\u8a9e", 5) == "\u65e5\u672c…"
    assert text.shortened(NASTY, 99) == SHOWN


def test_markdown():
    assert markdown.draw(TABLE).splitlines() == [
        "**small v1: 4 & 4**",
        "",
        "| name | AUROC | F | status |",
        "| --- | --: | --: | --- |",
        "| wen_2024 * | .973 [.951, .990] | 2 | ok |",
        r"| a\|b | -.5 | 1,000 | not run |",
        "",
        "a|b: no seed.",
        "second.",
    ]


def test_padded_markdown():
    assert markdown.draw(Table(COLUMNS, ROWS), padded=True).splitlines() == [
        "| name       |             AUROC |     F | status  |",
        "| ---------- | ----------------: | ----: | ------- |",
        "| wen_2024 * | .973 [.951, .990] |     2 | ok      |",
        r"| a\|b       |               -.5 | 1,000 | not run |",
    ]
    assert markdown.draw(Table(left("a"), [["b"]]), padded=True).splitlines() == ["| a   |", "| --- |", "| b   |"]


def test_markdown_escapes():
    assert markdown.markdown_line(["a|b", r"\|", ""]) == r"| a\|b | \\| |  |"
    assert markdown.escape("*: a control; 2 * 3") == r"\*: a control; 2 \* 3"


def test_latex():
    assert latex.document([("small v1", TABLE)], "5 % [x]").splitlines() == [
        r"% Needs \usepackage{booktabs} and \usepackage{graphicx}.",
        "",
        r"\begin{table}",
        r"\centering",
        r"\caption{small v1: 4 \& 4. 5 \% [x]}",
        r"\label{tab:small-v1}",
        r"\resizebox{\linewidth}{!}{%",
        r"\begin{tabular}{lrrl}",
        r"\toprule",
        r"name & AUROC & F & status \\",
        r"\midrule",
        r"wen\_2024 \textsuperscript{*} & .973 [.951, .990] & 2 & ok \\",
        r"a\textbar{}b & $-$.5 & 1,000 & not run \\",
        r"\bottomrule",
        r"\end{tabular}}",
        r"\par\footnotesize a\textbar{}b: no seed.",
        r"\par\footnotesize second.",
        r"\end{table}",
    ]


def test_csv_is_read_back():
    rows = [{"a": 'x, "y"', "b": None, "more": 1}, {"a": "two\nlines", "b": 0.1}]
    written = to_csv(rows, ["a", "b"])
    assert written == 'a,b\n"x, ""y""",\n"two\nlines",0.1'
    assert list(csv.DictReader(io.StringIO(written))) == [{"a": 'x, "y"', "b": ""}, {"a": "two\nlines", "b": "0.1"}]
    assert to_csv([], ["a", "b"]) == "a,b"
    with pytest.raises(KeyError):
        to_csv([{"a": 1}], ["a", "b"])


@pytest.mark.parametrize("draw", [text.draw, markdown.draw, lambda table: latex.draw(table, "n", NASTY)])
def test_nothing_in_a_table_steers_a_terminal(draw):
    drawn = draw(Table(left(NASTY, "b"), [[NASTY, "c"]], NASTY, [NASTY]))
    assert all(letter.isprintable() or letter == "\n" for letter in drawn)
    assert drawn.count("u202e") == 4 + (r"\begin" in drawn)


@pytest.mark.parametrize("form", [text, markdown])
def test_a_document_is_paragraphs_and_tables(form):
    small = Table(left("aaa"), [["b"]])
    parts = ["one\ntwo\x07", "", small, Table([], []), "three"]
    assert form.document(parts) == f"one\ntwo\\x07\n\n{form.draw(small)}\n\nthree"
    assert form.document([]) == ""


def test_empty_tables():
    assert text.draw(Table([], [])) == markdown.draw(Table([], [])) == ""
    assert text.draw(Table(COLUMNS, [])).splitlines() == [
        " name   AUROC   F   status",
        " " + "─" * 25,
    ]
    assert markdown.draw(Table(COLUMNS, [])).splitlines() == [
        "| name | AUROC | F | status |",
        "| --- | --: | --: | --- |",
    ]
    assert r"\midrule" + "\n" + r"\bottomrule" in latex.draw(Table(COLUMNS, [], "t"), "t", "")


def test_a_message_is_told_once():
    said = [("a", "x"), ("b", "y"), ("a", "x"), ("c", "x"), ("d", ""), ("e", "x")]
    assert notes_by_message(said) == ["a, c, e: x.", "b: y."]
    assert notes_by_message(said, 2) == ["a, c and 1 more: x.", "b: y."]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (numbers.number(-0.0001), "-.000"),
        (numbers.number(10.5, sign=True), "+10.500"),
        (numbers.number(0.9996), "1.000"),
        (numbers.number(-0.5), "-.500"),
        (numbers.number(math.nan), "-"),
        (numbers.number(None, sign=True), "-"),
        (numbers.signed(-0.0004), ".000"),
        (numbers.signed(-0.25), "-.250"),
        (numbers.short(0.0), "0"),
        (numbers.p_value(0.0004), "< .001"),
        (numbers.p_value(0.0006), ".001"),
        (numbers.bounded("5", 1.0, 9.0, numbers.count), "5 [1, 9]"),
        (numbers.bounded("5", None, 9.0), "5"),
        (numbers.interval({"d": 0.1, "d_low": -0.1, "d_high": 0.3}, "d", sign=True), "+.100 [-.100, .300]"),
        (numbers.interval({"d": None, "d_low": None, "d_high": None}, "d"), "-"),
        (numbers.count(1_000.0), "1000"),
        (numbers.counted(0, "prompt"), "0 prompts"),
        (numbers.quantity(0.00123), "0.00123"),
        (numbers.quantity(99.4), "99.4"),
        (numbers.quantity(0.00123, aligned=True), "0.001"),
        (numbers.quantity(1e6, aligned=True), "1,000,000"),
        (numbers.power(None), "-"),
        (numbers.percent(0.131), "13 %"),
        (numbers.percent(0.99872, 2), "99.87 %"),
        (numbers.defined(math.nan), None),
        (numbers.defined(1), 1.0),
    ],
)
def test_numbers(found, expected):
    assert found == expected


def test_the_drawer_loads_nothing_heavy():
    heavy = {"torch", "numpy", "pandas", "rich", "yaml", "huggingface_hub"}
    script = (
        "import sys, memdet.tables, memdet.tables.numbers, memdet.tables.table\n"
        "import memdet.tables.formats.csv, memdet.tables.formats.latex, memdet.tables.formats.markdown\n"
        f"import memdet.tables.formats.text\nprint(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
