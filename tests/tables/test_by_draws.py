"""The table of AUROC by the number of draws."""

import csv
import io
import json

import numpy as np
import pytest

from memdet.errors import UserError
from memdet.metrics import auroc
from memdet.tables.by_draws import FIELDS, FORMATS, draw_rows
from memdet.tables.rows import report_rows
from tests.helpers.runs import write_run

LABELS = np.repeat([1, 0], 30)


@pytest.fixture
def run(tmp_path):
    rng = np.random.default_rng(1)
    scores = {
        "moved": rng.normal(size=(60, 5)) + LABELS[:, None] * np.linspace(0, 2, 5),
        "text": rng.normal(size=(60, 5)),
        "failed": rng.normal(size=(60, 5)),
        "fixed": rng.normal(size=60),
    }
    return write_run(
        tmp_path / "run", scores, LABELS, seeds=range(5), access={"text": "text"}, unseeded=["fixed"],
        statuses={"failed": "error"},
    ), scores["moved"]  # fmt: skip


def test_a_row_a_number_of_draws(run):
    place, scores = run
    rows = draw_rows([place])
    assert [(row["detector"], row["n"], row["seeds"]) for row in rows] == [("moved", n, 5) for n in (1, 2, 4, 5)]
    assert all(tuple(row) == FIELDS for row in rows)
    single = [auroc(column, LABELS) for column in scores.T]
    assert (rows[0]["auroc"], rows[0]["sd"]) == pytest.approx((np.mean(single), np.std(single, ddof=1)))
    pairs = [auroc(scores[:, [a, b]].mean(axis=1), LABELS) for a, b in ((0, 1), (1, 2), (2, 3), (3, 4), (4, 0))]
    assert rows[1]["auroc"] == pytest.approx(np.mean(pairs))
    whole = next(row for row in report_rows([place]) if row["detector"] == "moved")
    for name in ("auroc", "auroc_low", "auroc_high"):
        assert rows[-1][name] == pytest.approx(whole[name])
    assert [row["n"] for row in draw_rows([place], [1, 4, 16])] == [1, 4]


def test_formats_tell_the_same(run):
    rows = draw_rows([run[0]])
    assert json.loads(FORMATS["json"](rows)) == rows
    read = list(csv.DictReader(io.StringIO(FORMATS["csv"](rows))))
    assert [float(row["auroc"]) for row in read] == [row["auroc"] for row in rows]
    for form in ("table", "markdown"):
        text = FORMATS[form](rows)
        assert "n = 1" in text
        assert f"{rows[0]['auroc']:.3f} ± {rows[0]['sd']:.3f}".replace("0.", ".") in text


def test_one_seed_has_no_draws_to_tell_of(tmp_path):
    run = write_run(tmp_path / "run", {"a": np.arange(60.0)}, LABELS)
    with pytest.raises(UserError, match="several noise seeds"):
        draw_rows([run])
