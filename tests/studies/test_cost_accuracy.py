"""The picture and the page of accuracy against network evaluations."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from memdet.tables import report_rows
from studies.cost_accuracy.figure import draw_cost, fingerprint, panels_of
from studies.cost_accuracy.fronts import evaluations, fronts_of, pareto_front
from studies.cost_accuracy.page import FIGURE, render_cost_page

ROOT = Path(__file__).resolve().parents[2]
RUN = "results/controlled/reference"
ACCESS = ["score", "gradient", "attention", "none", "text", "training-data"]


def make_row(name, forwards, auroc, tpr=None, *, sample_set="made", access="score", seeds=1, jvps=0.0, vjps=0.0):
    numbers = {"auroc": auroc, "tpr_at_1_fpr": tpr, "gain_over_control": None if access == "none" else auroc - 0.5}
    row = {
        "sample_set": sample_set,
        "detector": name,
        "access": access,
        "status": "ok",
        "n_negative": 120 if tpr is not None else 30,
        "tie_group": 1,
        "forwards": forwards,
        "jvps": jvps,
        "vjps": vjps,
        "seeds": seeds,
    }
    for measure, value in numbers.items():
        row |= {measure: value, f"{measure}_low": value, f"{measure}_high": value}
    return row


def make_set(name, tpr=0.5):
    return [
        make_row("control", 0, 0.55, tpr and 0.1, sample_set=name, access="none"),
        make_row("wen2024", 1, 0.8, tpr and tpr - 0.1, sample_set=name),
        make_row("jeon2025", 1, 0.6, tpr and 0.2, sample_set=name, access="gradient", jvps=2.0),
        make_row("late@t=200", 40, 0.95, tpr, sample_set=name, access="gradient", vjps=4.0),
        make_row("nearest", 99, 1.0, tpr and 1.0, sample_set=name, access="training-data"),
        make_row("dear", 120, 0.9, tpr and 0.3, sample_set=name),
    ]


@pytest.mark.parametrize("seed", range(5))
def test_every_other_with_an_equal_or_a_higher_accuracy_costs_more(seed):
    draw = np.random.default_rng(seed)
    rows = [
        make_row(f"d{i}", float(draw.integers(1, 6)), draw.integers(10) / 10, access=ACCESS[draw.integers(len(ACCESS))])
        for i in range(40)
    ]
    able = [row for row in rows if row["access"] in ACCESS[:3]]
    front = pareto_front(rows, "auroc")
    places = {(evaluations(row), row["auroc"]) for row in able}
    undominated = {
        (cost, value)
        for cost, value in places
        if not any((c, v) != (cost, value) and c <= cost and v >= value for c, v in places)
    }
    assert [(evaluations(row), row["auroc"]) for row in front] == sorted(undominated)
    assert all(row in able for row in front)


def test_every_evaluation_counts_as_one_over_all_seeds():
    assert evaluations(make_row("d", 1.5, 0.5, jvps=2.0, vjps=4.0, seeds=3)) == 22.5


def test_models_stand_beside_each_other_and_what_is_not_resolvable_leaves_a_gap():
    names = ["made-a-plain", "other", "made-a-few", "made-b-plain", "small", "made-b-few"]
    rows = [row for name in names for row in make_set(name, tpr=None if name in {"small", "made-b-few"} else 0.5)]
    places = [panel and (panel[0].name, panel[1]) for panel in panels_of(fronts_of(rows))]
    auroc, tpr = "auroc", "tpr_at_1_fpr"
    assert places == [
        *[("made-a-plain", auroc), ("made-b-plain", auroc), ("made-a-plain", tpr), ("made-b-plain", tpr)],
        *[("made-a-few", auroc), ("made-b-few", auroc), ("made-a-few", tpr), None],
        *[("other", auroc), ("small", auroc), ("other", tpr), None],
    ]


def fronts_drawn(figure):
    return {
        axis.get_label(): line.get_xydata().tolist()
        for axis in figure.axes
        for line in axis.lines
        if line.get_label() == "front"
    }


def names_drawn(figure):
    return {axis.get_label(): [text.get_text().replace("\n", "") for text in axis.texts] for axis in figure.axes}


@pytest.mark.slow
def test_figure_draws_the_front_and_names_it():
    figure = draw_cost(fronts_of(make_set("made")))
    assert fronts_drawn(figure) == {"made auroc": [[1, 0.8], [44, 0.95]], "made tpr_at_1_fpr": [[1, 0.4], [44, 0.5]]}
    names = names_drawn(figure)
    assert set(names["made auroc"]) == {"wen2024", "late@t=200", "jeon2025"}
    assert set(names["made tpr_at_1_fpr"]) == {"wen2024", "late@t=200"}


def test_steps_that_are_small_or_below_the_control_have_no_name():
    rows = make_set("made", tpr=None)
    rows += [make_row("first", 0.5, 0.552, sample_set="made"), make_row("last", 150, 0.955, sample_set="made")]
    names = names_drawn(draw_cost(fronts_of(rows)))
    assert not {"first", "last"} & set(names["made auroc"])


def test_what_costs_nothing_is_drawn_at_the_edge():
    figure = draw_cost(fronts_of([make_row("free", 0, 0.9)]))
    assert fronts_drawn(figure) == {"made auroc": [[figure.axes[0].get_xlim()[0], 0.9]]}


def test_page_says_what_holds_and_no_more():
    page = render_cost_page(fronts_of([*make_set("plain"), *make_set("made-swap")]), "runs/mine")
    assert "from the run `runs/mine`" in page
    assert "`wen2024`, which costs less, on 2 of 2 sets. For example, on `made-swap` it has .600" in page
    assert "| jeon2025 | 3 = 1 F + 2 JVP | 2 | 0 | 2 | wen2024 (2) |" in page
    assert "| late@t=200 | 44 = 40 F + 4 VJP | 2 | 2 | 0 | - |" in page
    assert "Where nothing pays" not in page
    blind = [row | {"gain_over_control_low": -0.1} for row in make_set("blind")]
    assert "On `blind` the best of the front is not shown to beat" in render_cost_page(fronts_of(blind), "runs/mine")


@pytest.fixture(scope="module")
def committed():
    return fronts_of(report_rows([ROOT / RUN]))


@pytest.mark.slow
def test_committed_page_and_figure_are_those_of_the_committed_run(committed):
    from PIL import Image

    again = "memdet reproduce cost-accuracy"
    assert (ROOT / "docs" / "cost-accuracy.md").read_text() == render_cost_page(committed, RUN), again
    with Image.open(ROOT / "docs" / "figures" / FIGURE) as image:
        assert image.info["Description"] == fingerprint(committed), again


@pytest.mark.slow
def test_committed_figure_shows_every_front_and_no_name_on_another(committed):
    figure = draw_cost(committed)
    drawn = fronts_drawn(figure)
    for found in committed:
        for measure, front in found.fronts.items():
            expected = [[evaluations(row), row[measure]] for row in front]
            assert drawn.pop(f"{found.name} {measure}") == expected
    assert not drawn
    edge = figure.bbox
    for axis in figure.axes:
        boxes = [text.get_window_extent() for text in axis.texts]
        assert not [pair for pair in itertools.combinations(boxes, 2) if pair[0].overlaps(pair[1])], axis.get_label()
        assert all(edge.x0 <= box.x0 and box.x1 <= edge.x1 for box in boxes)
