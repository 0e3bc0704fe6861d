"""The front page's rules on figures whose answer is known: the fold, failures, cards, budgets, what nobody solves."""

import pytest

from memdet.errors import UserError
from memdet.leaderboard.cells import Cell
from memdet.leaderboard.front import Apart, front_of
from memdet.leaderboard.front_data import (
    budget_steps,
    front_data,
    outside_of_the_mean,
    short_names,
    verdict_markdown,
)
from memdet.leaderboard.page import _read
from memdet.leaderboard.ranking import CellFigures, Standing, WorldRanking
from memdet.metrics import Interval

A, B, C = ("a", 1), ("b", 1), ("c", 1)
CELLS = [Cell("verbatim", "w", (A, B)), Cell("partly", "w", (C,))]
LENGTH = {"access": "text", "forwards": 0.0, "seeds": 1}


def row(key, detector, auroc, *, gain_low=0.1, **more):
    """A row of the board; what is not told is that of a method of one forward under eight seeds."""
    told = {"status": "ok", "ranked": True, "access": "score", "forwards": 1.0, "jvps": 0.0, "vjps": 0.0, "seeds": 8}
    told |= {"sample_set": key[0], "sample_set_version": key[1], "detector": detector, "auroc": auroc}
    return told | {"gain_over_control_low": gain_low, "status": "ok" if auroc is not None else "not-applicable"} | more


def standing(detector, gains, rank=None, *, aurocs=(None, None), control=False, tied=()):
    figures = [CellFigures(auroc, gain, 1) for auroc, gain in zip(aurocs, gains, strict=True)]
    mean = None if None in gains else Interval(sum(gains) / 2, -0.1, 0.9)
    return Standing(detector, control, figures, mean, rank, {}, tied)


@pytest.fixture
def ranking():
    standings = [
        standing("oracle", [0.5, 0.5], (1, 1, 3), tied=("dear",)),
        standing("dear", [0.5, 0.3], (2, 1, 3), aurocs=(0.95, 0.8), tied=("oracle", "cheap")),
        standing("cheap", [0.4, 0.0], (3, 2, 3), aurocs=(0.9, None), tied=("dear",)),
        standing("length", [0.0, 0.0], (4, 4, 4), control=True),
        standing("cheap@x=1", [0.45, 0.1]),
        standing("late@b=2", [0.4, None]),
        standing("late@a=1", [0.2, None]),
    ]
    return WorldRanking(CELLS, standings, [], [])


@pytest.fixture
def rows():
    return [
        *(row(key, "oracle", 1.0, access="training-data") for key in (A, B, C)),
        *(row(key, "dear", auroc, forwards=50.0) for key, auroc in ((A, 0.99), (B, 0.91), (C, 0.8))),
        row(A, "cheap", 0.95),
        row(B, "cheap", 0.85, gain_low=0.0),
        row(C, "cheap", None),
        *(row(key, "cheap@x=1", auroc) for key, auroc in ((A, 0.9), (B, 0.9), (C, 0.6))),
        *(row(key, "length", 0.5, gain_low=-0.1, **LENGTH) for key in (A, B, C)),
        row(A, "late@a=1", 0.7, seeds=4, ranked=False),
        row(A, "late@b=2", 0.8, jvps=1.0),
    ]


def failures(front, label):
    (found,) = (one for one in front.rows if one.label == label)
    return [(one.sample_set, one.why, one.auroc) for one in found.failures]


def test_one_row_a_method_and_variants_below_it(ranking, rows):
    front = front_of(ranking, rows)
    assert [one.label for one in front.rows] == ["oracle", "dear", "cheap", "length", "late@a=1"]
    assert [one.kind for one in front.rows] == ["oracle", "method", "method", "control", "method"]
    assert [one.variants for one in front.rows] == [[], [], ["cheap@x=1"], [], ["late@b=2"]]


def test_cards_name_the_best_rank_that_is_admitted_and_no_oracle(ranking, rows):
    front = front_of(ranking, rows)
    assert front.best.label == "dear"
    assert front.best_within(10).label == "cheap"
    assert front.best_within(7) is None
    assert front.best_within(400).label == "dear"
    assert front.best_of_one_forward.label == "cheap"
    assert [(budget, one.label) for budget, one in budget_steps(front)] == [(8, "cheap"), (400, "dear")]


def test_a_jacobian_product_on_one_set_is_no_single_forward(ranking, rows):
    changed = [one | {"vjps": 1.0} if (one["sample_set"], one["detector"]) == ("b", "cheap") else one for one in rows]
    front = front_of(ranking, changed)
    assert front.best_of_one_forward is None
    assert front.best_within(10) is None  # its dearest set costs 16


def test_failures_are_named_with_their_reason(ranking, rows):
    front = front_of(ranking, rows)
    assert failures(front, "dear") == []
    assert failures(front, "cheap") == [
        ("b", "not shown to beat the best control", 0.85),
        ("c", "not applicable", None),
    ]
    assert failures(front, "late@a=1") == [
        ("a", "run with other noise seeds", 0.7),
        ("b", "not run", None),
        ("c", "not run", None),
    ]
    text = verdict_markdown(front)
    assert (
        "- **Best overall**: dear, gain +.400 [-.100, +.900], least on partly; rank 2 [1, 3]; 400 evaluations an item."
        in text
    )
    assert "It fails on no set. It is tied with oracle, cheap." in text
    assert "fails: not shown to beat the best control on b (AUROC .850); not applicable on c." in text


def test_the_worst_question_is_that_of_the_lowest_gain(ranking, rows):
    front = front_of(ranking, rows)
    assert [one.worst for one in front.rows] == ["verbatim", "partly", "partly", "verbatim", None]


def test_what_nobody_solves_is_the_question_with_the_lowest_best_auroc(ranking, rows):
    """The oracle has 1.000 everywhere and does not count; ``cheap`` has no figure for the second question."""
    found = front_of(ranking, rows).unsolved
    assert (found.question, found.label, found.auroc, found.solved) == ("partly", "dear", 0.8, False)
    assert "- **Unsolved**: partly; the best there is dear with AUROC .800." in verdict_markdown(
        front_of(ranking, rows)
    )
    better = [one | {"auroc": 0.97} if (one["sample_set"], one["detector"]) == ("c", "dear") else one for one in rows]
    found = front_of(ranking, better).unsolved
    assert (found.question, found.auroc, found.solved) == ("verbatim", 0.95, True)


def test_wins_are_counted_where_both_are_ranked_and_told_apart(ranking, rows):
    labels = ["oracle", "dear", "cheap", "length"]
    apart = {
        A: Apart(labels, ["1000", "0110", "0110", "0001"]),
        B: Apart(labels, ["1000", "0100", "0010", "0001"]),
    }
    front = front_of(ranking, rows, apart)
    place = {one.label: index for index, one in enumerate(front.rows)}

    def won(one, other):
        return front.wins[place[one]][place[other]], front.both[place[one]][place[other]]

    assert won("dear", "cheap") == (1, 2)  # tied on the first, told apart on the second
    assert won("cheap", "dear") == (0, 2)
    assert won("cheap", "length") == (2, 2)
    assert won("late@a=1", "dear") == (0, 0)  # averages other noise seeds


def test_the_data_of_the_page_says_the_same(ranking, rows):
    data = front_data(front_of(ranking, rows), ranking, [A, B, C, ("odd", 1)])
    assert [(one["name"], [name for name, _ in one["worlds"][0]["sets"]]) for one in data["questions"]] == [
        ("verbatim", ["a", "b"]),
        ("partly", ["c"]),
    ]
    cheap = data["rows"][2]
    assert cheap["rank"] == (3, 2, 3)
    assert cheap["fails"] == [["not shown to beat the best control", [["b", 0.85]]], ["not applicable", [["c", None]]]]
    assert [data["rows"][place]["label"] for place in cheap["tied"]] == ["dear"]
    assert [label for label, _ in cheap["variants"]] == ["cheap@x=1"]
    assert data["cards"] == {"best": 1, "forward": 2}
    assert data["within"] == [[8, 2], [400, 1]]
    assert data["outside"] == [["odd", "asks no question of its own"]]


def test_sets_outside_the_mean_say_why(ranking):
    with_others = WorldRanking(CELLS, [], [("few", 1)], [("easy", 1)])
    told = dict(outside_of_the_mean(with_others, [A, ("few", 1), ("easy", 1), ("tiny-sd-a-membership", 1)]))
    assert told["few"].startswith("too few")
    assert told["easy"].startswith("saturated")
    assert told["tiny-sd-a-membership"].startswith("membership")
    assert "a" not in told


def test_names_below_a_question_are_short_and_never_empty():
    names = ("fashion-multi-1", "fashion-multi-several", "fashion-multi-wide")
    cells = [Cell(name.split("-")[-1], "pixel", ((name, 1),)) for name in names]
    assert list(short_names([*cells, Cell("atoms", "closed", (("oracle-16k", 1),))]).values()) == [
        "set", "set", "set", "oracle-16k",
    ]  # fmt: skip
    assert all(short_names([*CELLS]).values())


def test_a_damaged_audit_is_named(tmp_path):
    (tmp_path / "a.json").write_text('{"version": 1')
    with pytest.raises(UserError, match=r"a\.json is no JSON of memdet audit: make it again"):
        _read(tmp_path / "a.json", "memdet audit")
    assert _read(tmp_path / "none.json", "memdet audit") == {}
