"""Every export of a table, read by the library that reads it, holds the values of the run."""

import csv
import io
import json
import re
from html.parser import HTMLParser

import pandas as pd
import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results
from markdown_it import MarkdownIt

from memdet.results import Run
from memdet.tables import FIELDS, FORMATS, report_rows, table_of
from memdet.tables.comparison import FIELDS as COMPARED
from memdet.tables.comparison import compare_detectors
from memdet.tables.comparison_text import FORMATS as OF_COMPARISON
from memdet.tables.formats.latex import document
from memdet.tables.run_table import HEADERS, cells_of
from memdet.tables.table import Table, left
from tests.helpers.runs import write_run

LABELS = [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]
NAMES = {
    "plain": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
    "wen2024@steps=5,kind=a": [1, 2, 3, 4, 5, 9, 7, 8, 6, 10, 11, 12],
    "pipe|and\\|both@p=x|y": [1, 7, 3, 4, 5, 6, 2, 8, 9, 10, 11, 12],
    "_under_score & 100 % #1 $x$ {y} ~z^2~": [12, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 1],
    "\"quotes\" 'and' `ticks` ``two'' --flag ?` ,,": [12, 11, 3, 4, 5, 6, 7, 8, 9, 10, 2, 1],
    "*stars* **bold** <b>tag</b> &amp; [link](u) \\_ \\": [1e-5, 2, 3e-17, 4, 5, 6, 7, 8, 9, 10, 11, 1.5],
    "[bracket] ünïcode 記憶 😀: - ?": [6, 5, 4, 3, 2, 1, 12, 11, 10, 9, 8, 7],
    "- list: {a: 1}": [2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 2],
    "NA": [1] * 12,
    "1e-05": [0.5] * 11 + [1],
    "not applicable": [0] * 12,
    "broken": [0] * 12,
}
SET = 'my "set" & 100 %_é, (2)'
MESSAGES = {"not applicable": ['no <b>attention</b>, "none" | at_all'], "broken": ["ValueError: *x* is `NaN` & more"]}
METRICS = {
    "roc_auc": "auroc",
    "tpr_at_1_fpr": "tpr_at_1_fpr",
    "gain_over_control": "gain_over_control",
    "forwards": "forwards",
    "jvps": "jvps",
    "vjps": "vjps",
}
WITH_INTERVALS = {"auroc", "tpr_at_1_fpr", "gain_over_control"}


def awkward(path, **options):
    statuses = {"not applicable": "not-applicable", "broken": "nonfinite"}
    given = {"sample_set": SET, "statuses": statuses, "messages": MESSAGES, "access": {"plain": "text"}} | options
    return write_run(path, NAMES, LABELS, **given)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return Run.load(awkward(tmp_path_factory.mktemp("runs") / "one"))


@pytest.fixture(scope="module")
def rows(run):
    found = report_rows([run])
    assert [row["detector"] for row in found] == list(NAMES)
    assert {row["status"] for row in found} == {"ok", "not-applicable", "nonfinite", "constant"}
    assert all((row["auroc"] is None) == (row["status"] != "ok") for row in found)
    return found


# JSON and CSV


def no_constant(name):
    raise AssertionError(f"{name} is no JSON")


def test_json_is_the_rows(rows):
    assert json.loads(FORMATS["json"](rows), parse_constant=no_constant) == rows


def test_csv_is_the_rows_for_the_csv_module(rows):
    header, *lines = csv.reader(io.StringIO(FORMATS["csv"](rows)))
    assert header == list(FIELDS)
    assert lines == [["" if row[name] is None else str(row[name]) for name in FIELDS] for row in rows]


def test_csv_is_the_rows_for_pandas(rows):
    options = {"keep_default_na": False, "na_values": [""]}
    frame = pd.read_csv(io.StringIO(FORMATS["csv"](rows)), **options)
    assert list(frame) == list(FIELDS)
    assert len(frame) == len(rows)
    for row, (_, read) in zip(rows, frame.iterrows(), strict=True):
        for name in FIELDS:
            value, expected = read[name], row[name]
            if expected is None or expected == "":
                assert pd.isna(value), name
            elif isinstance(expected, str) and name != "metrics_version":
                assert value == expected, name
            else:
                assert float(value) == float(expected), name


class Cells(HTMLParser):
    """Text of the cells of a table's body, row by row."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.inside = [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        assert tag in {"table", "thead", "tbody", "tr", "th", "td", "div", "style", "p"}, tag
        self.inside = tag == "td"
        if tag == "tr":
            self.rows.append([])
        if self.inside:
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.rows[-1][-1] += data


def test_a_data_frame_and_its_html_are_the_rows(run, rows):
    table = table_of(run)
    for row, read in zip(rows, table.to_pandas().to_dict("records"), strict=True):
        for name in FIELDS:
            assert pd.isna(read[name]) if row[name] is None else read[name] == row[name], name
    shown = [name for name in FIELDS if any(row[name] is not None for row in rows)]
    _, *lines = Cells(table._repr_html_()).rows
    assert [line[shown.index("detector")] for line in lines] == list(NAMES)
    assert [line[shown.index("message")] for line in lines] == [row["message"] for row in rows]
    aurocs = [line[shown.index("auroc")] for line in lines]
    assert aurocs == ["NaN" if row["auroc"] is None else f"{row['auroc']:.3f}" for row in rows]


# Markdown


def markdown_tables(text):
    """Cells of each table as a reader of GitHub's Markdown shows them."""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    tables, cells = [], None
    for token in tokens:
        if token.type == "table_open":
            tables.append([])
        elif token.type == "tr_open":
            cells = []
        elif token.type == "tr_close":
            tables[-1].append(cells)
            cells = None
        elif token.type == "inline" and cells is not None:
            assert {child.type for child in token.children} <= {"text"}, token.content
            cells.append("".join(child.content for child in token.children))
    return tables, tokens


def test_markdown_shows_the_cells_and_nothing_else(rows):
    text = FORMATS["markdown"](rows)
    (table,), tokens = markdown_tables(text)
    assert table[0] == list(HEADERS)
    assert table[1:] == [[" ".join(cell.split()) for cell in cells_of(row)] for row in rows]
    shown = " ".join(c.content for t in tokens if t.type == "inline" for c in t.children if c.type == "text")
    for name, (message,) in MESSAGES.items():
        assert f"{name}: {'nonfinite' if name == 'broken' else name.replace(' ', '-')}: {message}." in shown
    assert SET in shown
    kinds = {child.type for token in tokens if token.type == "inline" for child in token.children}
    assert kinds <= {"text", "strong_open", "strong_close", "softbreak"}  # the title is bold, and nothing else


def test_a_comparison_is_read_back(run):
    rows = compare_detectors(run, against="plain")
    frame = pd.read_csv(io.StringIO(OF_COMPARISON["csv"](rows)), keep_default_na=False)
    assert list(frame) == list(COMPARED)
    assert frame["first"].tolist() == [row["first"] for row in rows]
    told = frame[frame["status"] == "ok"]
    expected = [row for row in rows if row["status"] == "ok"]
    for name in ("difference", "difference_low", "difference_high", "p", "p_adjusted"):
        assert told[name].astype(float).tolist() == [row[name] for row in expected]
    assert json.loads(OF_COMPARISON["json"](rows), parse_constant=no_constant) == rows
    (table,), _ = markdown_tables(OF_COMPARISON["markdown"](rows))
    assert [line[0] for line in table[1:]] == [" ".join(row["first"].split()) for row in expected]


# LaTeX


PRINTED = {
    r"\textbackslash{}": "\\",
    r"\textasciitilde{}": "~",
    r"\textasciicircum{}": "^",
    r"\textless{}": "<",
    r"\textgreater{}": ">",
    r"\textbar{}": "|",
    r"\textsuperscript{*}": "*",
    "$-$": "-",
    "{[}": "[",
    "{}": "",
    **{f"\\{letter}": letter for letter in "&%$#_{}"},
}
"""What TeX prints, by the sources that stand for one letter each (or for none)."""
LIGATURES = ("--", "``", "''", "?`", "!`", ",,")


def printed(source):
    """What TeX prints of a text; anything else that has a meaning is a mistake."""
    text, place = "", 0
    while place < len(source):
        found = next((known for known in PRINTED if source.startswith(known, place)), None)
        if found is None:
            assert source[place] not in "\\{}$&#^_~%", source[place:]
            assert not source.startswith(LIGATURES, place), source[place:]
            found = source[place]
        text += PRINTED.get(found, found)
        place += len(found)
    return text


def test_latex_prints_the_cells(rows):
    text = FORMATS["latex"](rows)
    body = text.split("\\midrule\n")[1].split("\n\\bottomrule")[0].split("\n")
    assert all(line.endswith(r" \\") and not line.startswith(("[", "*")) for line in body)
    found = [[printed(cell) for cell in re.split(r"(?<!\\) & ", line.removesuffix(r" \\"))] for line in body]
    assert found == [cells_of(row) for row in rows]
    assert len(re.findall(r"(?<!\\)%", text)) == 2  # a comment at the top, and the line end of resizebox


def test_labels_of_latex_are_each_their_own():
    tables = [(name, Table(left("a"), [["1"]], name)) for name in ("é v1", "ü v1", "plain v1", "a:1", "a:2")]
    labels = re.findall(r"\\label\{(.*)\}", document(tables, ""))
    assert len(set(labels)) == len(tables)


# model-index


def read_card(text):
    return ModelCard(f"---\n{text}\n---\n# A card\n").data


def expected_metrics(rows, several=False):
    """Value and bounds of each detector and metric that is defined."""
    return {
        (row["detector"] + (f", run {row['run']}" if several else ""), kind): (
            row[field],
            *((row[f"{field}_low"], row[f"{field}_high"]) if field in WITH_INTERVALS else ()),
        )
        for row in rows
        for kind, field in METRICS.items()
        if row["auroc"] is not None and row[field] is not None
    }


def metrics_of(results):
    found = {}
    for one in results:
        key = one.metric_config, one.metric_type
        assert key not in found
        bounds = (one.metric_args["low"], one.metric_args["high"]) if one.metric_args else ()
        found[key] = (one.metric_value, *bounds)
        assert one.metric_config in one.metric_name
        assert (one.dataset_type, one.dataset_name, one.dataset_revision) == (SET, f"{SET} v1", "v1")
    return found


def test_the_hubs_reader_tells_every_detector_of_a_card(rows):
    card = read_card(FORMATS["model-index"](rows))
    expected = expected_metrics(rows)
    assert len({name for name, _ in expected}) == len(NAMES) - 3
    assert metrics_of(card.eval_results) == expected


def test_a_card_that_the_hubs_client_wrote_again_tells_them_too(rows):
    """It writes one name and joins the results of a data set."""
    once = read_card(FORMATS["model-index"](rows))
    assert metrics_of(read_card(once.to_yaml()).eval_results) == expected_metrics(rows)


def test_each_entry_is_that_of_its_detector(rows):
    index = yaml.safe_load(FORMATS["model-index"](rows))["model-index"]
    assert [entry["name"] for entry in index] == [row["detector"] for row in rows if row["status"] == "ok"]
    for entry in index:
        name, results = model_index_to_eval_results([entry])
        own = [row for row in rows if row["detector"] == name]
        assert metrics_of(results) == expected_metrics(own)


def test_two_runs_in_one_card_are_told_apart(rows, tmp_path):
    """The other run has the scores of the plain detector the other way round."""
    other = write_run(
        tmp_path / "two", {"plain": [-x for x in NAMES["plain"]]}, LABELS, sample_set=SET, access={"plain": "text"}
    )
    both = [*rows, *report_rows([other])]
    found = metrics_of(read_card(FORMATS["model-index"](both)).eval_results)
    assert found == expected_metrics(both, several=True)
    values = {
        name: value[0] for (name, kind), value in found.items() if name.startswith("plain,") and kind == "roc_auc"
    }
    assert sorted(values.values()) == [0.0, 1.0]
