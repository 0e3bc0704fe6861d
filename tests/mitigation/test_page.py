"""The page of a run of mitigations: what it shows, of whom, and that it is inert."""

from __future__ import annotations

import base64
import hashlib
import math
import re

import numpy as np
import pytest

from memdet.io_utils import png_bytes
from memdet.metrics import Interval
from memdet.mitigating.measures import Measured, measure
from memdet.mitigating.page import cards_of, ordered, to_html
from memdet.mitigating.scatter import BOTTOM, LEFT, RIGHT, TOP, WIDTH, scatter, spread
from memdet.mitigating.text import Comparison
from tests.mitigation.test_measures import SEEDS, Oracle, made, run_of, standard

EVIL = "<script>document.title='owned'</script> \u202e dress"


@pytest.fixture(scope="module")
def comparison():
    rows, run = standard()
    run.items.loc[1, "condition"] = EVIL
    return Comparison(run, list(rows.values()))


@pytest.fixture(scope="module")
def page(comparison):
    planted = {"i1": png_bytes(np.full((4, 4), 77, dtype=np.uint8))}
    return to_html(comparison, planted, {"Computed on": "<b>cpu</b>"})


def test_the_page_runs_and_loads_nothing(page):
    assert not re.search(r"<(script|iframe|object|embed|link|base|form)\b|\son\w+=|javascript:|https?://", page)
    policy = re.search(r'content="(default-src[^"]*)"', page)[1]
    style = re.search(r"<style>(.*)</style>", page, re.S)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in policy.replace("&#39;", "'")
    assert "default-src 'none'" in policy.replace("&#39;", "'")
    assert "&lt;script&gt;document.title" in page
    assert "\u202e" not in page
    assert "&lt;b&gt;cpu" in page


def test_every_mitigation_is_shown_with_what_it_did(page):
    table = page[page.index("<tbody>") : page.index("</tbody>")]
    assert re.findall(r'class="name">([\w-]+)', table) == ["none", "reseed", "lower-guidance", "ignores", "broken"]
    assert "not-applicable: no null branch" in table
    assert page.count('<figure class="shot copy">') > 0
    assert page.count('class="shot planted"') == 1  # of the one whose training image was given


def test_what_is_no_better_than_another_noise_says_so():
    _, numbers = run_of()
    right = np.repeat(numbers[:, None], SEEDS, axis=1)
    half = np.where(np.random.default_rng(0).random(right.shape) < 0.5, 0.02, 0.5)
    run, _ = run_of(*(made(label, right, half) for label in ("none", "reseed", "as-lucky")))
    found = to_html(Comparison(run, measure(run, Oracle())), {}, {})
    row = re.search(r"<tr[^>]*>(?:(?!</tr>).)*as-lucky.*?</tr>", found, re.S)[0]
    assert row.startswith('<tr class="lucky">')
    assert "not shown to beat reseed" in row
    assert "0 of 1 method copy significantly less than another noise" in found


def test_captions_that_come_out_most_often_are_shown_from_a_seed_where_they_do():
    _, numbers = run_of()
    right = np.repeat(numbers[:, None], SEEDS, axis=1)
    plain, other = np.full(right.shape, 0.5), np.full(right.shape, 0.5)
    plain[3, 2] = 0.02  # items with odd positions are memorized
    plain[7, 1:] = 0.02
    plain[8] = 0.02  # an ordinary one
    other[7, 1] = 0.02
    run, _ = run_of(made("none", right, plain), made("reseed", right, other))
    found = Comparison(run, measure(run, Oracle()))
    first, second, third = cards_of(found, 1, 3, {})
    assert (first.caption, first.seed, first.copies) == (run.items["condition"][7], 1, 3)
    assert [(shot.label, shot.copied) for shot in first.shots] == [("none", True), ("reseed", True)]
    assert (second.caption, second.seed, second.copies) == (run.items["condition"][3], 2, 1)
    assert [shot.copied for shot in second.shots] == [True, False]
    assert (third.seed, third.copies) == (0, 0)


def row(label, copied, right, *, on_front=False):
    intervals = [Interval(value, max(0.0, value - 0.1), min(1.0, value + 0.1)) for value in (copied, right)]
    return Measured(
        label, is_control=False, copied=intervals[0], faithful={"memorized": intervals[1]}, on_front=on_front
    )


def test_points_lie_where_their_shares_are_and_the_front_goes_up_in_steps():
    rows = [row("a", 0.0, 0.5, on_front=True), row("b", 1.0, 1.0, on_front=True), row("c", 0.5, 0.25)]
    plot = scatter(list(enumerate(rows, 1)))
    middle = (TOP + BOTTOM) / 2
    assert [(point.x, point.y) for point in plot.points[:2]] == [(LEFT, middle), (RIGHT, TOP)]
    assert plot.points[2].across == pytest.approx((LEFT + 0.4 * (RIGHT - LEFT), LEFT + 0.6 * (RIGHT - LEFT)))
    assert plot.front == f"M{LEFT:.1f} {middle:.1f}H{RIGHT:.1f}V{TOP:.1f}"
    assert scatter([(1, Measured("d", is_control=False)), (2, rows[0])]) is None


def test_labels_of_points_at_one_place_stand_apart():
    labels = spread([(LEFT, BOTTOM)] * 12)
    assert min(math.dist(a, b) for i, a in enumerate(labels) for b in labels[:i]) >= 14
    assert all(LEFT < x < WIDTH and 0 < y < BOTTOM for x, y in labels)


def test_the_controls_come_first_and_what_was_not_made_last(comparison):
    assert [one.label for one in ordered(comparison.rows)] == ["none", "reseed", "lower-guidance", "ignores", "broken"]
