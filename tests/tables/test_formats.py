"""Tables for papers and model cards."""

import re

import pytest
import yaml

from memdet.tables import FORMATS, report_rows
from memdet.tables.formats.latex import escape
from memdet.tables.run_table import HEADERS, cells_of


@pytest.fixture
def rows(write_run, tmp_path):
    return report_rows([write_run(tmp_path / "suite" / "one"), write_run(tmp_path / "suite" / "two", shift=-10.0)])


def environments(text):
    """Names of a LaTeX text's environments; they must be nested."""
    stack, found = [], []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if kind == "begin":
            stack.append(name)
            found.append(name)
        else:
            assert stack.pop() == name
    assert not stack
    return found


def test_latex_is_one_booktabs_table_a_set_and_run(rows):
    text = FORMATS["latex"](rows)
    assert environments(text) == ["table", "tabular"] * 2
    for rule in ("toprule", "midrule", "bottomrule"):
        assert text.count(rf"\{rule}") == 2
    assert re.findall(r"\\label\{(.*)\}", text) == ["tab:small-v1-suite-one", "tab:small-v1-suite-two"]
    assert text.count("{") == text.count("}")
    lines = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert [line.count(" & ") for line in lines] == [len(HEADERS) - 1] * 6
    cells = [cell.strip() for cell in lines[4].removesuffix(r"\\").split(" & ")]
    assert [cell.replace("$-$", "-").replace(r"\%", "%") for cell in cells] == cells_of(rows[2])
    assert "$-$.500" in cells[HEADERS.index("gain over control")]


def test_latex_escapes_what_has_a_meaning():
    assert escape("a_b 5 % & $x$ #1 {y} ~ ^ \\") == (
        r"a\_b 5 \% \& \$x\$ \#1 \{y\} \textasciitilde{} \textasciicircum{} \textbackslash{}"
    )
    assert escape("-.120 [-.2, +.3] wen-2024 t-1") == "$-$.120 [$-$.2, +.3] wen-2024 t-1"


def test_model_index_is_read_by_the_hub_client(rows):
    from huggingface_hub import ModelCard

    text = FORMATS["model-index"](rows[:2])
    card = ModelCard(f"---\n{yaml.safe_dump({'model-index': yaml.safe_load(text)['model-index'][:1]})}---\n# found\n")
    assert card.data.model_name == "found"
    results = {result.metric_type: result for result in card.data.eval_results}
    assert results["roc_auc"].metric_value == rows[0]["auroc"]
    assert results["roc_auc"].metric_args == {
        "confidence": 0.95,
        "low": rows[0]["auroc_low"],
        "high": rows[0]["auroc_high"],
    }
    assert results["gain_over_control"].metric_args["control"] == "random"
    assert results["forwards"].metric_value == 2.0
    one = results["roc_auc"]
    assert (one.dataset_type, one.dataset_revision, one.dataset_split) == ("small", "v1", "test")
    assert one.dataset_args == {"n_positive": 4, "n_negative": 4, "n_clusters": 8, "seeds": 2}


def test_model_index_has_an_entry_a_detector_and_strata_as_configurations(write_run, tmp_path):
    rows = report_rows([write_run(tmp_path)], by_stratum=True)
    index = yaml.safe_load(FORMATS["model-index"](rows))["model-index"]
    assert [entry["name"] for entry in index] == ["found", "random"]
    assert [result["dataset"]["config"] for result in index[0]["results"]] == ["strong", "weak"]


def test_rows_without_numbers_are_no_evaluation_results(rows):
    failed = rows[0] | {"status": "error", "auroc": None, "tpr_at_1_fpr": None, "gain_over_control": None}
    assert yaml.safe_load(FORMATS["model-index"]([failed])) == {"model-index": []}
