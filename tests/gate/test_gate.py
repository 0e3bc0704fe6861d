"""What the gate lets through and what it stops, on scores made for the purpose."""

import json
from dataclasses import replace

import numpy as np
import pytest

from memdet.detectors import detector_classes, make_detectors
from memdet.detectors.methods.wen2024_magnitude import ScoreDifferenceNorm
from memdet.errors import UserError
from memdet.gate.check import check_run
from memdet.gate.pairs import significant_bits
from memdet.gate.text import GATE_FORMATS
from memdet.metrics import auroc, gain, paired_permutation
from memdet.results import Run
from memdet.running import RunOptions, run
from memdet.samplesets import load_sample_set
from tests.helpers.runs import cut_run, write_run

LABELS = np.arange(60) % 2
WIDE = 1e9  # for tests of accuracy alone


def scores(seed=0, separation=1.5, seeds=1):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(60, seeds)) + separation * LABELS[:, None]


@pytest.fixture
def pair(tmp_path):
    """Write a baseline and a run, and check the run."""

    def check(before, after, *, of_baseline=None, of_run=None, labels=LABELS, **options):
        write_run(tmp_path / "baseline", before, labels, **(of_baseline or {}))
        write_run(tmp_path / "run", after, labels, **(of_run or {}))
        return check_run(tmp_path / "run", tmp_path / "baseline", **options)

    return check


def kinds(result):
    return [(failure.kind, failure.detector) for failure in result.failures]


def test_a_run_passes_against_itself(pair):
    both = {"a": scores(0), "b": scores(1)}
    result = pair(both, both)
    assert result.passed
    assert [(row.drift, row.change.value, row.p) for row in result.rows] == [(0.0, 0.0, None)] * 2


def test_a_drop_fails_and_names_its_detector(pair):
    result = pair({"a": scores(0), "b": scores(1)}, {"a": scores(0), "b": -scores(1)}, drift=WIDE)
    assert kinds(result) == [("drop", "b")]
    row = result.rows[1]
    assert row.before == auroc(scores(1)[:, 0], LABELS)
    assert row.after == pytest.approx(1 - row.before)
    clusters = [f"item-{i:03d}" for i in range(60)]
    assert row.change == gain(-scores(1)[:, 0], scores(1)[:, 0], LABELS, clusters)
    assert row.p == paired_permutation(-scores(1)[:, 0], scores(1)[:, 0], LABELS)
    assert row.p_adjusted == pytest.approx(2 * row.p)


def test_a_rise_passes(pair):
    assert pair({"a": -scores()}, {"a": scores()}, drift=WIDE).passed


def test_a_drop_needs_to_exceed_the_tolerance(pair, tmp_path):
    after = scores(0, separation=0.0)
    drop = auroc(scores(0)[:, 0], LABELS) - auroc(after[:, 0], LABELS)
    assert pair({"a": scores()}, {"a": after}, drift=WIDE, tolerance=drop).passed
    assert not check_run(tmp_path / "run", tmp_path / "baseline", drift=WIDE, tolerance=drop - 1e-6).passed


def test_a_large_drop_that_chance_explains_passes(pair):
    result = pair({"a": scores(0, 1.0)}, {"a": scores(2, 0.9)}, drift=WIDE)
    row = result.rows[0]
    assert row.change.value < -0.05
    assert row.p_adjusted > 0.05
    assert result.passed


def test_items_that_lost_rank_come_first(pair):
    before = np.linspace(0, 1, 60)
    order = np.argsort(LABELS, kind="stable")
    before = before[np.argsort(order)]  # all memorized items above the others
    after = -before
    result = pair({"a": before}, {"a": after}, drift=WIDE)
    first = result.failures[0].moved[0]
    assert {first.rank_before, first.rank_after} == {1.0, 60.0}
    assert first.before == -first.after
    by_item = {move.item: move for move in result.failures[0].moved}
    assert len(by_item) == 60
    highest = f"item-{int(np.argmax(before)):03d}"
    assert (by_item[highest].label, by_item[highest].rank_before, by_item[highest].rank_after) == (1, 1.0, 60.0)


def test_a_saturated_detector_that_drops_fails(pair):
    """DeLong's variance is zero at an AUROC of 1; exchanging ranks does without it."""
    perfect = scores(0, separation=20.0)
    worse = perfect - 20.0 * LABELS[:, None] * (np.arange(60) < 20)[:, None]
    result = pair({"a": perfect}, {"a": worse}, drift=WIDE)
    assert result.rows[0].before == 1.0
    assert kinds(result) == [("drop", "a")]
    assert {move.item for move in result.failures[0].moved if move.label} <= {f"item-{i:03d}" for i in range(1, 20, 2)}


def test_near_duplicates_are_no_further_evidence(pair, tmp_path):
    """A set in which every item stands three times is that set: the same change, and the same p."""
    before, after = scores(0)[:, 0], scores(0, separation=1.1)[:, 0] + 0.4 * scores(5, 0.0)[:, 0]
    once = pair({"a": before}, {"a": after}, drift=WIDE)
    ids = [f"item-{i:03d}-{copy}" for i in range(60) for copy in "xyz"]
    family = {"ids": ids, "clusters": [name[:-2] for name in ids]}
    for name, values in (("baseline", before), ("run", after)):
        write_run(tmp_path / f"{name}-thrice", {"a": np.repeat(values, 3)}, np.repeat(LABELS, 3), **family)
    thrice = check_run(tmp_path / "run-thrice", tmp_path / "baseline-thrice", drift=WIDE)
    assert once.rows[0].p is not None
    assert 0.001 < once.rows[0].p < 1
    assert thrice.rows[0].p == once.rows[0].p
    assert thrice.rows[0].change.value == pytest.approx(once.rows[0].change.value)


def test_the_adjustment_counts_every_detector_but_controls(pair):
    same = {f"d{i}": scores(i) for i in range(9)} | {"control": scores(9)}
    worse = scores(0, 1.5) - 1.5 * LABELS[:, None] * (np.arange(60) < 24)[:, None]
    access = {"access": {"control": "none"}}
    result = pair(same, same | {"d0": worse}, drift=WIDE, of_baseline=access, of_run=access)
    assert result.tests == 9
    assert result.rows[0].p_adjusted == pytest.approx(9 * result.rows[0].p)


@pytest.mark.slow
def test_the_smallest_p_survives_the_adjustment(pair):
    """With 2,000 exchanges p is .0005 at least, and times 150 it would be above .05 whatever happens."""
    same = {f"d{i}": scores(i)[:20] for i in range(150)}
    result = pair(same, same | {"d7": -same["d7"]}, drift=WIDE, labels=LABELS[:20])
    assert kinds(result) == [("drop", "d7")]


def test_drift_is_relative_to_the_largest_score(pair, tmp_path):
    before = np.linspace(-50.0, 100.0, 60)
    after = before.copy()
    after[20] += 1e-3  # 1e-5 of the largest score, however small this one is
    after[21] += 3e-3
    result = pair({"a": before}, {"a": after}, drift=1.0001e-5)
    assert kinds(result) == [("drift", "a")]
    assert [(move.item, move.seed, move.before, move.after) for move in result.failures[0].moved] == [
        ("item-021", 0, before[21], after[21])
    ]
    assert result.rows[0].drift == pytest.approx(3e-5)
    assert check_run(tmp_path / "run", tmp_path / "baseline", drift=3.1e-5).passed


def test_the_baseline_states_the_tolerance(pair, tmp_path):
    stated = {"tolerances": {"mine": 1e-3}}
    before, after = scores(), scores() * (1 + 5e-4)
    assert pair({"mine": before}, {"mine": after}, of_baseline=stated).passed
    write_run(tmp_path / "older", {"mine": before}, LABELS)
    assert kinds(check_run(tmp_path / "run", tmp_path / "older")) == [("drift", "mine")]


def test_a_baseline_that_states_none_has_the_tolerances_of_its_detectors(pair):
    before = {"wen2024": scores(), "jeon2025@backend=fd": scores(), "curvature-gap": scores(), "of-a-plugin": scores()}
    result = pair(before, {label: value * (1 + 1e-3) for label, value in before.items()})
    assert kinds(result) == [("drift", "wen2024"), ("drift", "of-a-plugin")]
    assert [row.allowed for row in result.rows] == [1e-5, 1e-2, 1e-2, 1e-5]


def test_a_run_states_the_tolerances_of_its_detectors(tmp_path):
    class Mine(ScoreDifferenceNorm):
        info = replace(ScoreDifferenceNorm.info, name="mine", tolerance=1e-3)

    detectors = [*make_detectors(["wen2024", "curvature-gap", "jeon2025", "jeon2025@backend=fd"], detector_classes())]
    options = RunOptions(seeds=1)
    run([load_sample_set("mixture-2d")], [*detectors, Mine()], tmp_path / "run", options, progress=False)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["tolerances"] == {
        "wen2024": 1e-5,
        "curvature-gap": 1e-2,
        "jeon2025": 1e-5,
        "jeon2025@backend=fd": 1e-2,
        "mine": 1e-3,
    }
    assert [row.allowed for row in check_run(tmp_path / "run", tmp_path / "run").rows] == [1e-5, 1e-2, 1e-5, 1e-2, 1e-3]


def test_scores_that_became_one_number_fail(pair):
    result = pair({"a": scores()}, {"a": np.zeros(60)})
    assert [(failure.kind, failure.message) for failure in result.failures] == [("status", "ok -> constant")]
    json.loads(GATE_FORMATS["json"](result), parse_constant=lambda name: pytest.fail(name))


def test_shared_seeds_alone_are_compared(pair):
    table = scores(seeds=3)
    other = table.copy()
    other[:, 2] = -other[:, 2]
    result = pair({"a": table[:, :2]}, {"a": other[:, 1:]}, of_baseline={"seeds": (0, 1)}, of_run={"seeds": (1, 2)})
    assert result.passed
    assert result.rows[0].seeds == (1,)
    assert result.rows[0].before == auroc(table[:, 1], LABELS)


def test_seeds_that_are_not_shared(pair):
    """Accuracy is paired on items all the same, with as many seeds of each; that drift cannot be checked is said."""
    before, after = (
        {"a": scores(0, seeds=2), "b": scores(1, seeds=2)},
        {"a": scores(2, seeds=3), "b": -scores(3, seeds=3)},
    )
    result = pair(before, after, of_baseline={"seeds": (0, 1)}, of_run={"seeds": (2, 3, 4)})
    assert kinds(result) == [("drop", "b")]
    assert result.rows[0].after == auroc(scores(2, seeds=3)[:, :2].mean(axis=1), LABELS)
    assert [row.drift for row in result.rows] == [None, None]
    seeds = "seeds 0, 1 in the baseline, seeds 2, 3, 4 in the run"
    assert f"made: no drift could be checked, no seed is in both runs ({seeds}): a, b" in result.notes


def test_other_seeds_move_all_items_together(pair):
    """Every item moves with its seed: exchanging items would be sure of a drop that two draws of a seed explain."""
    rng = np.random.default_rng(0)
    start, shift = rng.normal(size=60) + LABELS, 2.0 * LABELS - 1
    before = np.stack([start + 0.9 * shift, start + 0.1 * shift], axis=1)
    after = np.stack([start + 0.5 * shift, start - 0.3 * shift], axis=1)
    clusters = [f"item-{i:03d}" for i in range(60)]
    items_alone = paired_permutation(after.mean(axis=1), before.mean(axis=1), LABELS, clusters=clusters)
    result = pair({"a": before}, {"a": after}, of_baseline={"seeds": (0, 1)}, of_run={"seeds": (2, 3)})
    assert items_alone < 0.01
    assert result.rows[0].p > 0.1
    assert result.passed


def test_one_other_seed_says_nothing(pair):
    with pytest.raises(
        UserError, match="nothing can be compared of a on made: no seed is in both runs .seed 0 .*seed 1"
    ):
        pair({"a": scores()}, {"a": scores(1)}, of_baseline={"seeds": (0,)}, of_run={"seeds": (1,)})


def test_a_score_without_a_seed_is_compared_whatever_seed_it_stands_under(pair):
    once = {"unseeded": ["a"]}
    before, after = scores(), scores() * 1.1
    result = pair({"a": before}, {"a": after}, of_baseline={"seeds": (0,)} | once, of_run={"seeds": (5,)} | once)
    assert kinds(result) == [("drift", "a")]


def test_what_vanished_fails(pair, tmp_path):
    both = {"a": scores(0), "b": scores(1)}
    result = pair(both, {"a": scores(0)})
    assert kinds(result) == [("missing", "b")]
    fewer = cut_run(tmp_path / "fewer", tmp_path / "baseline", items=[f"item-{i:03d}" for i in range(58)])
    result = check_run(fewer, tmp_path / "baseline")
    assert [(f.kind, f.detector, f.message) for f in result.failures] == [
        ("missing", None, "2 of 60 items are not in the run: item-058, item-059")
    ]
    assert result.rows[0].items == 58
    elsewhere = write_run(tmp_path / "elsewhere", both, LABELS, sample_set="other")
    result = check_run(elsewhere, tmp_path / "baseline")
    assert [(f.kind, f.sample_set) for f in result.failures] == [("missing", "made")]
    assert "other: not in the baseline, not compared" in result.notes


@pytest.mark.parametrize("status", ["error", "nonfinite", "not-applicable"])
def test_a_status_that_was_ok_fails(status, pair):
    broken = {"statuses": {"b": status}, "messages": {"b": ["ValueError: no"]}}
    result = pair({"a": scores(0), "b": scores(1)}, {"a": scores(0), "b": np.full(60, np.nan)}, of_run=broken)
    assert [(f.kind, f.detector, f.message) for f in result.failures] == [
        ("status", "b", f"ok -> {status}: ValueError: no")
    ]
    assert [row.detector for row in result.rows] == ["a"]


def test_what_was_never_ok_is_not_compared(pair):
    broken = {"statuses": {"b": "error"}}
    result = pair({"a": scores(0), "b": np.full(60, np.nan)}, {"a": scores(0), "b": scores(1)}, of_baseline=broken)
    assert result.passed
    assert "made: b has status error in the baseline, not compared" in result.notes


def test_what_is_new_passes_and_is_named(pair):
    result = pair({"a": scores(0)}, {"a": scores(0), "b": scores(1)})
    assert result.passed
    assert "made: not in the baseline, not compared: b" in result.notes


def test_controls_are_held_to_drift_alone(pair, tmp_path):
    control = {"access": {"c": "text"}}
    before, after = {"a": scores(0), "c": scores(1)}, {"a": scores(0), "c": -scores(1)}
    assert pair(before, after, of_baseline=control, of_run=control, drift=WIDE).passed
    assert kinds(check_run(tmp_path / "run", tmp_path / "baseline")) == [("drift", "c")]


def test_a_new_version_of_a_detector_may_drift_but_not_drop(pair):
    version = {"detector_versions": {"a": 2, "b": 2}}
    result = pair({"a": scores(0), "b": scores(1)}, {"a": 2 * scores(0), "b": -scores(1)}, of_run=version)
    assert kinds(result) == [("drop", "b")]
    assert any("version went from 1 to 2" in note for note in result.notes)


def test_scores_of_16_bits_are_seen_through_a_wide_tolerance(pair, tmp_path):
    before = scores().astype(np.float32)
    result = pair({"curvature-gap": before}, {"curvature-gap": before.astype(np.float16)})
    assert kinds(result) == [("precision", "curvature-gap")]
    assert result.rows[0].drift < 1e-3
    counts = np.round(scores() * 10)
    write_run(tmp_path / "counted", {"a": counts}, LABELS)
    assert check_run(tmp_path / "counted", tmp_path / "counted").passed
    write_run(tmp_path / "double", {"curvature-gap": scores()}, LABELS)
    assert check_run(tmp_path / "baseline", tmp_path / "double").passed  # float32 after float64


@pytest.mark.parametrize(("dtype", "bits"), [(np.float64, 53), (np.float32, 24), (np.float16, 11)])
def test_significant_bits_are_those_of_the_type(dtype, bits):
    values = np.random.default_rng(0).normal(size=1_000).astype(dtype)
    assert significant_bits(values) == bits
    assert significant_bits(values.astype(np.float64) * 2.0**40) == bits
    assert significant_bits(np.zeros(3, dtype)) == 0


def test_other_versions_and_labels_are_refused(pair, tmp_path):
    with pytest.raises(UserError, match="version 2 of sample set made.*version 1: make a new baseline"):
        pair({"a": scores()}, {"a": scores()}, of_run={"version": 2})
    write_run(tmp_path / "relabelled", {"a": scores()}, np.where(np.arange(60) == 4, 1, LABELS))
    with pytest.raises(UserError, match="item item-004 of made has label 1 in .* and 0 in the baseline"):
        check_run(tmp_path / "relabelled", tmp_path / "baseline")


def test_too_few_items_to_show_a_drop_are_held_to_drift(pair):
    few = {"a": scores()[:5]}
    result = pair(few, few, labels=LABELS[:5])
    assert result.tests == 0
    assert any("no drop could be checked, 5 independent items cannot show a drop" in note for note in result.notes)


def test_one_class_alone_is_held_to_drift(pair):
    result = pair({"a": scores()}, {"a": scores()}, labels=np.ones(60, int))
    assert any("one class has no items" in note for note in result.notes)
    assert np.isnan(result.rows[0].before)
    assert json.loads(GATE_FORMATS["json"](result))["rows"][0]["before"] is None


def test_a_baseline_without_scores_is_refused(pair):
    broken = {"statuses": {"a": "error"}}
    with pytest.raises(UserError, match="no detector with status ok"):
        pair({"a": np.full(60, np.nan)}, {"a": scores()}, of_baseline=broken)


@pytest.mark.parametrize("with_detector", [True, False])
def test_controls_alone_are_no_baseline(with_detector, pair, tmp_path):
    """Nothing that a gate is for is compared: every detector is not applicable, or there is none."""
    options, tables = {"access": {"c": "text"}}, {"c": scores(1)}
    if with_detector:
        options |= {"statuses": {"a": "not-applicable"}, "messages": {"a": ["no attention"]}}
        tables |= {"a": np.full(60, np.nan)}
    with pytest.raises(UserError, match="no detector with status ok beside the controls, which are not what a gate is"):
        pair(tables, tables, of_baseline=options, of_run=options)
    assert check_run(tmp_path / "run", tmp_path / "baseline", detectors=["c"]).passed  # for whoever asks for it


def test_no_detectors_are_nothing_to_compare(pair):
    with pytest.raises(UserError, match="nothing to compare"):
        pair({"a": scores()}, {"a": scores()}, detectors=[])


def test_what_was_not_applicable_and_now_fails_is_told(pair):
    before = {"statuses": {"b": "not-applicable"}, "messages": {"b": ["no attention"]}}
    after = {"statuses": {"b": "error"}, "messages": {"b": ["ValueError: no"]}}
    tables = {"a": scores(0), "b": np.full(60, np.nan)}
    result = pair(tables, tables, of_baseline=before, of_run=after)
    assert [failure.message for failure in result.failures] == ["not-applicable -> error: ValueError: no"]


def test_a_run_that_is_its_own_baseline_is_told_so(pair, tmp_path):
    told = "the run is its own baseline: nothing can differ"
    assert told not in pair({"a": scores()}, {"a": scores()}).notes
    path = tmp_path / "run"
    for same in (path, path.parent / "baseline" / ".." / "run", Run.load(path)):
        assert told in check_run(path, same).notes


def test_detectors_can_be_chosen(pair, tmp_path):
    result = pair({"a": scores(0), "b": scores(1)}, {"a": scores(0)}, detectors=["a"])
    assert result.passed
    with pytest.raises(UserError, match="has no detector c; it has a, b"):
        check_run(tmp_path / "run", tmp_path / "baseline", detectors=["c"])


@pytest.mark.parametrize("options", [{"tolerance": -0.1}, {"tolerance": 1.5}, {"alpha": 0.0}, {"alpha": 1.0}])
@pytest.mark.parametrize("more", [{}, {"drift": 1.0}])
def test_numbers_out_of_range(options, more, pair):
    with pytest.raises(UserError, match="give a number"):
        pair({"a": scores()}, {"a": scores()}, **options, **more)


@pytest.mark.parametrize("drift", [-1.0, float("nan"), float("inf")])
def test_drift_out_of_range(drift, pair):
    with pytest.raises(UserError, match="drift.* give a number"):
        pair({"a": scores()}, {"a": scores()}, drift=drift)


@pytest.mark.parametrize("stated", ["wide", -1, True])
def test_a_tolerance_that_is_no_number(stated, pair):
    with pytest.raises(UserError, match="run.json states the tolerance .* for a"):
        pair({"a": scores()}, {"a": scores()}, of_baseline={"tolerances": {"a": stated}})


def test_what_may_have_moved_the_scores_is_named(pair):
    result = pair({"a": scores()}, {"a": scores()}, of_run={"dtype": "float16", "model_hashes": {"made": "1"}})
    assert result.notes == (
        "differs from the baseline: dtype of made float32 -> float16; other weights of the model of made",
    )


@pytest.mark.parametrize("form", ["table", "markdown"])
def test_texts_say_where_how_much_and_which_items(form, pair):
    result = pair({"good": scores(0), "bad": scores(1)}, {"good": scores(0), "bad": -scores(1)})
    text = GATE_FORMATS[form](result)
    assert "FAILED (1 drop, 1 drift)" in text
    first = result.failures[0].moved[0]
    for words in (
        "bad on made",
        "Holm over 2 tests",
        first.item,
        f"rank {first.rank_before:g} -> {first.rank_after:g}",
    ):
        assert words in text
    assert "good on made" not in text


def test_json_lists_every_item_that_moved(pair):
    result = pair({"a": scores(1)}, {"a": -scores(1)})
    content = json.loads(GATE_FORMATS["json"](result))
    assert content["passed"] is False
    assert [failure["kind"] for failure in content["failures"]] == ["drop", "drift"]
    assert len(content["failures"][1]["moved"]) == 60
