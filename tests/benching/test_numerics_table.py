"""The tables of a numerical audit, on measurements made up by hand."""

import csv
import io
import json

import numpy as np
import pytest
from scipy.stats import spearmanr

from memdet.benching.numerics.audit import Audit, Deviation
from memdet.benching.numerics.table import (
    BEGIN,
    END,
    FIELDS,
    numerics_rows,
    numerics_table,
    rank_correlation,
    relative_differences,
    replace_between,
)
from memdet.errors import UserError


@pytest.fixture
def found():
    combination = {"dtype": "float16", "attention": "math", "backend": "fd"}
    lost = {"status": "not-applicable", "message": "no | such kernel"}
    return Audit(
        model="m",
        sample_set="s",
        seed=3,
        device="cpu",
        threads=2,
        torch="2.0",
        labels=[1, 1, 0, 0],
        timesteps=[981, 481],
        measured=[
            Deviation("J_c", 981, **combination, errors=[1e-3, 2e-3, 2e-3, 8e-3]),
            Deviation("J_c", 481, **combination, errors=[0.0] * 4),
            Deviation("J_D", 981, **combination, errors=[np.nan] * 4, status="nonfinite", message="not finite"),
            # One of the four pairs changes its order: AUROC 1 becomes .75.
            Deviation("d", None, **combination, scores=[4.0, 2.0, 2.2, 1.0], reference=[4.0, 3.0, 2.0, 1.0]),
            Deviation("J_c", 981, "float16", "flash", "fd", **lost),
            Deviation("d", None, "float16", "flash", "fd", **lost),
        ],
    )


def test_rows(found):
    rows = numerics_rows(found)
    assert all(tuple(row) == FIELDS for row in rows)
    assert (rows[0]["median_error"], rows[0]["largest_error"]) == (2e-3, 8e-3)
    assert rows[2]["largest_error"] is None
    score = rows[3]
    assert (score["auroc"], score["auroc_shift"]) == (0.75, -0.25)
    assert score["rank_correlation"] == pytest.approx(spearmanr([4, 2, 2.2, 1], [4, 3, 2, 1])[0])
    assert score["largest_error"] == pytest.approx(1 / 3)
    assert rows[4]["auroc"] is None


def test_relative_differences():
    assert relative_differences([1.1, 2.0], [1.0, 2.0]) == pytest.approx([0.1 / 1.5, 0.0])
    # An item near 0 is measured by the median, not by itself.
    assert relative_differences([0.1, 4.0, -6.0], [0.0, 4.0, -5.0]) == pytest.approx([0.025, 0.0, 0.2])
    counts = relative_differences([0.0, 1.0, 0.0, 2.0], [0.0, 0.0, 0.0, 2.0])
    assert np.isnan(counts[1])
    assert counts[[0, 2, 3]].tolist() == [0.0, 0.0, 0.0]


def test_rank_correlation_is_spearmans():
    generator = np.random.default_rng(0)
    for _ in range(20):
        a, b = generator.integers(0, 6, (2, 15))
        assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b)[0], abs=1e-12)
    assert np.isnan(rank_correlation([1.0, 1.0], [1.0, 2.0]))


def test_json_and_csv_hold_every_row(found):
    whole = json.loads(numerics_table(found, "json"))
    assert whole["rows"] == numerics_rows(found)
    assert (whole["n_positive"], whole["n_negative"], whole["seed"], whole["threads"]) == (2, 2, 3, 2)
    table = list(csv.DictReader(io.StringIO(numerics_table(found, "csv"))))
    assert [row["status"] for row in table] == [m.status for m in found.measured]


@pytest.mark.parametrize("form", ["table", "markdown"])
def test_text(form, found):
    text = numerics_table(found, form)
    assert "m on s: 2 memorized, 2 not, seed 3, products at t = 981 and 481; cpu, 2 threads, torch 2.0." in text
    assert "2e-03 / 8e-03" in text
    assert "3e-01 / .8000 / -.250" in text
    assert "nonfinite" in text
    assert "flash attention in float16: not-applicable: no" in text  # in a note, not a line of the table
    lines = [line for line in text.splitlines() if line.strip(" |").startswith(("float16 ", "d "))]
    assert len(lines) == 2


def test_markdown_tables_are_whole(found):
    lines = [line for line in numerics_table(found, "markdown").splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} == {8, 5}


def test_only_the_marked_part_is_replaced():
    document = f"# Title\n\n{BEGIN}\nold\n{END}\n\nAfter.\n"
    written = replace_between(document, "new")
    assert written == f"# Title\n\n{BEGIN}\n\nnew\n\n{END}\n\nAfter.\n"
    assert replace_between(written, "new") == written
    for bad in ("# Title\n", f"{END}{BEGIN}", document + document):
        with pytest.raises(UserError, match="numerics: begin"):
            replace_between(bad, "new")
