"""Tables, page and leaderboard name the same detectors as not told apart from the best of the committed runs."""

import json
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from memdet.metrics import evaluate_rates, evaluate_table
from memdet.page.payload import RATES, payload_of
from memdet.results import Run
from memdet.tables import report_rows
from tests.helpers.pages import tied_with_the_best

RESULTS = Path(__file__).resolve().parents[2] / "results"
LEADERBOARD = RESULTS / "leaderboard.html"


def first_groups(rows):
    found = {}
    for row in rows:
        if row["tie_group"] == 1:
            found.setdefault((row["sample_set"], row["sample_set_version"]), set()).add(row["detector"])
    return found


def groups_of_page(data):
    fields, version = data["fields"], data["fields"].index("sample_set_version")
    return {(s["id"], s["rows"][0][version]): tied_with_the_best(s, 0, fields) for s in data["sets"]}


def by_seed(of_set, entry, items):
    """Scores of each noise seed of a detector that it moves; all of a run have the same seeds."""
    rows = of_set[of_set["detector"] == entry.label]
    if entry.is_control or rows["seed"].nunique() < 2:
        return None
    return rows.pivot(index="item_id", columns="seed", values="score").loc[items].to_numpy()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["quick", "headline", "times", "oracle"])
def test_page_and_table_of_a_run_agree(name, monkeypatch):
    few = partial(evaluate_rates, draws=100)  # tables need no draws for the groups, and those of the page are compared
    monkeypatch.setattr("memdet.tables.rows.evaluate_table", partial(evaluate_table, draws=1))
    monkeypatch.setattr("memdet.page.payload.evaluate_rates", few)
    path = RESULTS / name / "reference"
    run = Run.load(path)
    data = payload_of([run], generations=0, picture_bytes=0)
    assert groups_of_page(data) == first_groups(report_rows([path]))
    for described in data["sets"]:
        of_set = run.score_rows().query("sample_set == @described['id']")
        items = of_set.drop_duplicates("item_id").set_index("item_id")
        means = of_set.groupby(["detector", "item_id"], sort=False)["score"].mean()
        labels = list(described["tpr"])
        scores = [means[label].loc[items.index].to_numpy() for label in labels]
        at_rates = few(
            scores,
            items["label"].to_numpy(np.int64),
            items["cluster"].to_numpy(str),
            RATES,
            by_seed=[by_seed(of_set, run.manifest.detector(label), items.index) for label in labels],
        )
        for measure, at in enumerate(at_rates, start=1):
            expected = {label for label, group in zip(labels, at.ties.groups, strict=True) if group == 1}
            assert tied_with_the_best(described, measure, data["fields"]) == expected


def test_the_page_of_the_leaderboard_agrees_with_its_rows():
    (text,) = re.findall(r'<script id="data" type="application/json">(.*?)</script>', LEADERBOARD.read_text("utf-8"))
    found = groups_of_page(json.loads(text))
    expected = first_groups(json.loads((RESULTS / "leaderboard.json").read_text("utf-8"))["rows"])
    assert len(found) > 10
    assert found == {key: expected[key] for key in found}
