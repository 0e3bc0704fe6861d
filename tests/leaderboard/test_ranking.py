"""The ranking over questions and worlds, of runs whose figures are known."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memdet.leaderboard import cells as rules
from memdet.leaderboard.board import chosen_entries, leaderboard_json, rows_of_tables
from memdet.leaderboard.cells import CONTROL_QUESTIONS, asking_specs, cells_of, units_of
from memdet.leaderboard.markdown import leaderboard_markdown
from memdet.leaderboard.ranking import world_ranking
from memdet.leaderboard.ranking_text import ranking_json, ranking_markdown
from memdet.metrics import tau_between
from memdet.results import ITEMS
from memdet.samplesets import load_spec, sample_set_ids
from tests.helpers.runs import write_run

LABELS = [1, 1, 1, 1, 0, 0, 0, 0]
CONTROL = [0, 1, 0, 1, 0, 1, 0, 1]  # AUROC .5
PERFECT = [9, 8, 7, 6, 4, 3, 2, 1]
HALF = [9, 8, 1, 0, 4, 5, 3, 2]  # AUROC .5
GOOD = [9, 8, 7, 0, 4, 5, 3, 2]  # AUROC .75


@pytest.fixture
def ask(monkeypatch):
    """Says of made sample sets which world they are of and what they ask."""
    specs = {}

    def say(name, world=None, question=None, version=1):
        changed = {"id": name, "version": version, "world": world, "question": question}
        specs[name, version] = load_spec("tiny-sd-a-verbatim").model_copy(update=changed)

    monkeypatch.setattr(rules, "spec_of", specs.get)
    return say


@pytest.fixture
def board(tmp_path):
    """Writes a run of one set, with the control ``random``; ranks all that were written."""

    def write(sample_set, scores, labels=LABELS, controls=("random",), **settings):
        path = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        tables = {"random": np.resize(CONTROL, len(labels)), **scores}
        return write_run(
            path, tables, labels, sample_set=sample_set, access=dict.fromkeys(controls, "none"), **settings
        )

    write.ranking = lambda: world_ranking(tables := chosen_entries(tmp_path), rows_of_tables(tables))
    return write


def standing(ranking, label):
    return next(one for one in ranking.standings if one.detector == label)


def test_gain_is_a_mean_over_sets_then_worlds_then_questions(ask, board):
    for name, world, question, scores in (
        ("a1", "a", "verbatim", PERFECT),  # .5 of gain
        ("a2", "a", "verbatim", GOOD),  # .25
        ("b1", "b", "verbatim", HALF),  # 0
        ("a3", "a", "partly", GOOD),  # .25
    ):
        ask(name, world, question)
        board(name, {"found": scores})
    ranking = board.ranking()
    assert [(cell.question, cell.world, [name for name, _ in cell.sets]) for cell in ranking.cells] == [
        ("verbatim", "a", ["a1", "a2"]),
        ("verbatim", "b", ["b1"]),
        ("partly", "a", ["a3"]),
    ]
    found = standing(ranking, "found")
    assert [figures.gain for figures in found.cells] == [0.375, 0, 0.25]
    assert [figures.auroc for figures in found.cells] == [0.875, 0.5, 0.75]
    assert found.gain.value == pytest.approx(((0.375 + 0) / 2 + 0.25) / 2)
    assert standing(ranking, "random").gain.value == 0
    assert ranking.worlds == {"verbatim": ["a", "b"], "partly": ["a"]}


def test_where_a_detector_does_not_apply_its_gain_is_none_at_all(ask, board):
    """A higher mean over the cells to which it applies is no higher rank."""
    statuses = {"picky": "not-applicable"}
    for name, world in (("a1", "a"), ("b1", "b")):
        ask(name, world, "verbatim")
        board(name, {"broad": GOOD, "picky": PERFECT, "flat": GOOD}, statuses=statuses if world == "b" else None)
    picky, broad = (standing(board.ranking(), name) for name in ("picky", "broad"))
    assert [(figures.auroc, figures.gain, figures.applies) for figures in picky.cells] == [(1, 0.5, 1), (None, 0, 0)]
    assert picky.gain.value == broad.gain.value == 0.25
    assert picky.tau == {}
    assert list(broad.tau) == ["verbatim"]


def test_one_score_for_all_items_finds_nothing(ask, board):
    ask("a1", "a", "verbatim")
    ask("b1", "b", "verbatim")
    board("a1", {"found": PERFECT})
    board("b1", {"found": np.ones(8)})
    assert [figures.gain for figures in standing(board.ranking(), "found").cells] == [0.5, 0]


@pytest.mark.parametrize("missing", ["row", "error", "seeds"])
def test_who_lacks_a_cell_has_no_rank_and_is_named(missing, ask, board):
    ask("a1", "a", "verbatim")
    ask("b1", "b", "verbatim")
    board("a1", {name: np.stack([GOOD, GOOD], axis=1) for name in ("found", "other", "third")}, seeds=(0, 1))
    twice = {name: np.stack([GOOD, GOOD], axis=1) for name in ("other", "third")}
    if missing == "error":
        found = np.stack([GOOD, GOOD], axis=1)
        board("b1", {"found": found, **twice}, seeds=(0, 1), statuses={"found": "error"})
    else:
        board("b1", twice, seeds=(0, 1))
    if missing == "seeds":
        board("b1", {"found": GOOD})
    ranking = board.ranking()
    found = standing(ranking, "found")
    assert (found.gain, found.rank) == (None, None)
    assert [figures.gain for figures in found.cells] == [0.25, None]
    assert ranking.standings[-1] is found
    assert {one.detector for one in ranking.standings if one.rank} == {"random", "other", "third"}
    assert "of 2 cells they have: `found` 1." in ranking_markdown(ranking)


def test_a_new_world_with_few_entries_unranks_nobody(ask, board):
    for name, world in (("a1", "a"), ("b1", "b"), ("c1", "c")):
        ask(name, world, "verbatim")
        board(name, dict.fromkeys(["one", "two", "three"] if world != "c" else ["one"], GOOD))
    ranking = board.ranking()
    assert [cell.world for cell in ranking.cells] == ["a", "b"]
    assert ranking.left_out == [("c1", 1)]
    assert all(one.rank for one in ranking.standings)
    assert "take no part so far, with too few detectors or clusters: c1 v1." in ranking_markdown(ranking)


def test_a_set_whose_label_is_one_cluster_takes_no_part(ask, board):
    ask("a1", "a", "verbatim")
    ask("b1", "b", "verbatim")
    board("a1", {"found": GOOD})
    board("b1", {"found": GOOD}, clusters=["one"] * 4 + ["c", "d", "e", "f"])
    assert board.ranking().left_out == [("b1", 1)]


def test_only_the_newest_version_takes_part(ask, board):
    for version, scores in ((1, PERFECT), (2, GOOD)):
        ask("a1", "a", "verbatim", version)
        board("a1", {"found": scores}, version=version)
    (cell,) = board.ranking().cells
    assert cell.sets == (("a1", 2),)
    assert standing(board.ranking(), "found").gain.value == 0.25


def test_sets_without_a_question_and_control_questions_take_no_part(ask, board):
    ask("a1", "a")
    ask("a2", "a", "membership")
    board("a1", {"found": GOOD})
    board("a2", {"found": GOOD})
    board("unknown", {"found": GOOD})
    assert board.ranking() is None


def test_clear_differences_are_ranks_and_no_control_is_above_a_detector(ask, board):
    rng, labels = np.random.default_rng(0), np.repeat([1, 0], 60)
    for world in ("a", "b"):
        ask(world, world, "verbatim")
        noise = rng.normal(size=(3, 120))
        scores = {
            "strong": labels * 2.5 + noise[0],
            "weak": labels * 0.9 + noise[1],
            "too": labels * 0.9 + noise[2],
        }
        board(world, scores, labels)
    ranks = {one.detector: one.rank for one in board.ranking().standings}
    assert ranks["strong"] == (1, 1, 1)
    assert {ranks["weak"], ranks["too"]} == {(2, 2, 3), (3, 2, 3)}
    assert ranks["random"] == (4, 4, 4)


def test_no_control_is_shown_to_be_above_a_weak_detector(ask, board):
    rng, labels = np.random.default_rng(1), np.repeat([1, 0], 40)
    controls = ("random", "length", "case")
    for world in ("a", "b"):
        ask(world, world, "verbatim")
        weak = {f"weak-{shift}": shift * labels + rng.normal(size=80) for shift in (0.0, 0.2, 0.4)}
        board(world, {name: rng.normal(size=80) for name in controls} | weak, labels, controls=controls)
    ranking = board.ranking()
    assert [one.detector for one in ranking.standings if one.control and one.rank[2] < 6] == []
    assert all(one.gain.low <= 0 for one in ranking.standings if one.control)


def test_tau_is_that_of_the_cells_with_the_variance_of_the_bootstrap(ask, board):
    """With 400 items DeLong's variance is near, and worlds that differ by far have the tau of their AUROCs."""
    rng, labels = np.random.default_rng(2), np.repeat([1, 0], 200)
    for world, shift in (("a", 0.5), ("b", 1.0), ("c", 2.0)):
        ask(world, world, "verbatim")
        board(world, {"found": labels * shift + rng.normal(size=400)}, labels)
    found = standing(board.ranking(), "found")
    aurocs = [figures.auroc for figures in found.cells]
    near = tau_between(aurocs, [0.025**2, 0.022**2, 0.013**2])
    assert found.tau["verbatim"] == pytest.approx(near, abs=0.01)
    assert found.tau["verbatim"] > 0.08


# One rank a method


def test_variants_have_a_gain_and_no_rank_and_default_options_stand_for_a_method(ask, board):
    ask("a1", "a", "verbatim")
    board("a1", {"m": GOOD, "m@x=1": PERFECT, "n@b=1": GOOD, "n@a=1": HALF})
    ranking = board.ranking()
    assert {one.detector: one.rank[0] for one in ranking.standings if one.rank} == {"m": 1, "n@a=1": 2, "random": 2}
    assert (standing(ranking, "m@x=1").gain.value, standing(ranking, "m@x=1").rank) == (0.5, None)
    lines = [line.split(" | ")[:2] for line in ranking_markdown(ranking).splitlines() if line.startswith("| ")][2:]
    assert [(name, rank[:1]) for name, rank in lines] == [
        ("| m", "1"), ("| m@x=1", ""), ("| n@a=1", "2"), ("| n@b=1", ""), (r"| random \*", "2"),
    ]  # fmt: skip
    assert "Not ranked" not in ranking_markdown(ranking)


def test_a_variant_stands_in_where_the_default_lacks_a_cell(ask, board):
    for name, scores in (("a1", {"m": GOOD, "m@x=1": GOOD, "o": GOOD}), ("b1", {"m@x=1": GOOD, "o": GOOD})):
        ask(name, name[0], "verbatim")
        board(name, scores)
    ranking = board.ranking()
    assert {one.detector for one in ranking.standings if one.rank} == {"m@x=1", "o", "random"}


def test_a_set_that_half_of_eight_detectors_solve_is_outside_the_mean(ask, board):
    solved = {f"d{index}": PERFECT for index in range(4)} | {f"e{index}": GOOD for index in range(4)}
    ask("a1", "a", "verbatim")
    ask("b1", "b", "verbatim")
    board("a1", solved)
    board("b1", dict.fromkeys(solved, GOOD))
    ranking = board.ranking()
    assert (ranking.saturated, ranking.left_out) == ([("a1", 1)], [])
    assert standing(ranking, "d0").gain.value == 0.25
    assert "outside the mean: a1 v1." in ranking_markdown(ranking)


def test_seven_perfect_detectors_saturate_nothing(ask, board):
    ask("a1", "a", "verbatim")
    board("a1", {f"d{index}": PERFECT for index in range(7)})
    assert board.ranking().saturated == []


def test_who_is_tied_is_who_the_simultaneous_comparison_does_not_tell_apart(ask, board):
    rng, labels = np.random.default_rng(0), np.repeat([1, 0], 60)
    ask("a", "a", "verbatim")
    noise = rng.normal(size=(3, 120))
    shifts = {"strong": 3.0, "weak": 0.9, "too": 0.9}
    board("a", {name: labels * shift + noise[at] for at, (name, shift) in enumerate(shifts.items())}, labels)
    tied = {one.detector: set(one.tied) for one in board.ranking().standings}
    assert tied["strong"] == set()
    assert "too" in tied["weak"]
    assert "weak" in tied["too"]


# Units over sets


def items(*clusters):
    return pd.DataFrame({"cluster": list(clusters)}, index=[f"item {name}" for name in clusters])


def test_clusters_of_one_name_are_one_in_their_world_and_prompts_everywhere(ask):
    for name, world in (("first", "a"), ("sister", "a"), ("far", "b")):
        ask(name, world, "verbatim")
    keys = [("first", 1), ("sister", 1), ("far", 1)]
    sets = dict(zip(keys, (items("x", "y"), items("x", "z"), items("x", "w")), strict=True))
    conditions = {keys[0]: {"item y": "A  red house"}, keys[2]: {"item w": "a red HOUSE"}}
    units = units_of(sets, {key: rules.spec_of(key) for key in keys}, conditions)
    (x, y), (same, z), (other, w) = units.values()
    assert x == same
    assert y == w
    assert len({x, y, z, other}) == 4


def test_prompts_of_a_run_join_what_its_sets_call_differently(ask, tmp_path):
    """The same twenty prompts under other names: the second set is no further evidence, and intervals stay as wide."""
    rng, labels = np.random.default_rng(3), np.repeat([1, 0], 10)
    scores = {"found": labels + rng.normal(size=20), "random": np.resize(CONTROL, 20)}
    widths = []
    for known in (False, True):
        for name in ("a1", "b1"):
            ask(name, name, "verbatim")
            ids = [f"{name}-{i}" for i in range(20)]
            path = tmp_path / f"known-{known}" / name
            write_run(path, scores, labels, ids=ids, sample_set=name, access={"random": "none"})
            if known:
                prompts = [f"prompt {i}" for i in range(20)]
                columns = {"sample_set": [name] * 20, "item_id": ids, "condition": prompts, "model": ["made"] * 20}
                pq.write_table(pa.table(columns, schema=ITEMS), path / "items.parquet")
        tables = chosen_entries(tmp_path / f"known-{known}")
        gain = standing(world_ranking(tables, rows_of_tables(tables)), "found").gain
        widths.append(gain.high - gain.low)
    assert widths[1] == pytest.approx(np.sqrt(2) * widths[0], rel=0.1)


# What ships


@pytest.mark.parametrize("name", sample_set_ids())
def test_world_and_question_of_a_spec_are_those_of_its_cell(name):
    spec = load_spec(name)
    cells = cells_of(asking_specs([(name, spec.version)]))
    asks = spec.question is not None and spec.question not in CONTROL_QUESTIONS
    assert [(cell.question, cell.world) for cell in cells] == ([(spec.question, spec.world)] if asks else [])


def test_variants_under_another_guidance_and_membership_are_no_cell():
    asking = {name for name, _ in asking_specs([(name, load_spec(name).version) for name in sample_set_ids()])}
    assert {"tiny-sd-a-verbatim", "tiny-sd-b-verbatim", "tiny-sd-swap", "fashion-multi-1", "oracle-16k"} <= asking
    assert not {name for name in asking if name.endswith(("-guided", "-membership"))}
    assert not {"mixture-2d", "fashion-pixel-generated"} & asking


def test_questions_that_many_worlds_ask_are_first_and_numbers_are_in_order(ask):
    asked = [("a", "several-10"), ("a", "several-3"), ("b", "verbatim"), ("a", "verbatim"), ("a", "narrow")]
    for place, (world, question) in enumerate(asked):
        ask(f"set-{place}", world, question)
    cells = cells_of(asking_specs([(f"set-{place}", 1) for place in range(5)]))
    assert [cell.question for cell in cells] == ["verbatim", "verbatim", "narrow", "several-3", "several-10"]


# How it is shown


def test_the_section_and_the_json_say_the_same(ask, board, tmp_path):
    for name, world, question in (("a1", "a", "verbatim"), ("b1", "b", "verbatim"), ("a2", "a", "partly")):
        ask(name, world, question)
        board(name, {"found": GOOD, "best": PERFECT}, statuses={"best": "not-applicable"} if name == "a2" else None)
    tables = chosen_entries(tmp_path)
    rows = rows_of_tables(tables)
    ranking = world_ranking(tables, rows)
    page = leaderboard_markdown(rows, ranking)
    section = page[page.index("## Ranking over worlds") : page.index("## All rows")]
    assert "Worlds behind each question: verbatim 2 (a, b), partly 1 (a)." in section
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    assert lines[0] == "| detector | rank | gain | verbatim | partly | worst cell | tau |"
    best, found, control = lines[2:]
    assert best.startswith("| best | 1 [1, ")
    assert "| 1.000 | - | partly, a: .000 | .000 (verbatim) |" in best
    assert "| +.250 [" in found
    assert found.endswith("| .750 | .750 | partly, a: +.250 | .000 (verbatim) |") or "verbatim, a: +.250" in found
    assert control.startswith(r"| random \* | ")
    told = json.loads(leaderboard_json(rows, ranking_json(ranking)))
    assert told["rows"] == rows
    assert [(one["detector"], one["gain"]) for one in told["ranking"]["detectors"]] == [
        ("best", 0.25),
        ("found", 0.25),
        ("random", 0.0),
    ]
    assert told["ranking"]["cells"][0] == {"question": "verbatim", "world": "a", "sample_sets": [["a1", 1]]}
    assert "Ranking over worlds" not in leaderboard_markdown(rows)
