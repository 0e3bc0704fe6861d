"""A detector of one's own against all that the leaderboard has."""

import json
from pathlib import Path

import numpy as np
import pytest

from memdet.leaderboard.field import against_field
from memdet.results import Run
from memdet.tables.comparison import compare_detectors
from tests.helpers.runs import write_run

ROOT = Path(__file__).resolve().parents[2]
LABELS = np.repeat([1, 0], 20)
RNG = np.random.default_rng(0)
SCORES = {name: LABELS * shift + RNG.normal(size=(3, 40)) for name, shift in (("mine", 1.5), ("a", 2.0), ("b", 0.4))}
SCORES = {name: scores.T for name, scores in SCORES.items()}
SCORES["chance"] = RNG.normal(size=40)
ACCESS = {"chance": "none"}
SEEDS = (0, 1, 2)


@pytest.fixture
def board(tmp_path):
    of = {"seeds": SEEDS, "access": ACCESS, "unseeded": ("chance",), "sample_set": "one"}
    write_run(tmp_path / "board" / "suite" / "field", {name: SCORES[name] for name in ("a", "b")}, LABELS, **of)
    write_run(tmp_path / "board" / "suite" / "dear", {"one-seed": SCORES["b"][:, :1]}, LABELS, sample_set="one")
    write_run(tmp_path / "board" / "other" / "field", {"a": SCORES["a"]}, LABELS, seeds=SEEDS, sample_set="two")
    return tmp_path / "board"


@pytest.fixture
def mine(tmp_path):
    scores = {"mine": SCORES["mine"]}
    return write_run(tmp_path / "mine", scores, LABELS, seeds=SEEDS, sample_set="one")


def test_the_tests_are_those_of_one_run_with_all_detectors(board, mine, tmp_path):
    """The paired tests of a run that holds them all are the reference."""
    together = write_run(
        tmp_path / "all", {k: SCORES[k] for k in ("mine", "a", "b")}, LABELS, seeds=SEEDS, sample_set="one"
    )
    expected = {}
    for row in compare_detectors(together, against="mine"):
        sign = 1 if row["first"] == "mine" else -1
        other = row["second"] if sign == 1 else row["first"]
        expected[other] = (sign * row["difference"], row["p"])
    (found,) = against_field(Run.load(mine), board)
    rows = {row["second"]: row for row in found.rows}
    assert (found.label, found.key, set(rows)) == ("mine", ("one", 1), {"a", "b", "one-seed"})
    for other, (difference, p) in expected.items():
        assert rows[other]["difference"] == pytest.approx(difference, abs=1e-12)
        assert rows[other]["p"] == pytest.approx(p, rel=1e-9)


def test_pairs_are_on_common_seeds_and_adjusted_together(board, mine):
    (found,) = against_field(Run.load(mine), board)
    rows = {row["second"]: row for row in found.rows}
    assert (rows["a"]["seeds"], rows["one-seed"]["seeds"]) == (3, 1)
    assert "2 noise seeds only in" in rows["one-seed"]["message"]
    ordered = sorted(row["p"] for row in rows.values())
    holm = np.maximum.accumulate([min(1.0, p * (3 - i)) for i, p in enumerate(ordered)])
    assert sorted(row["p_adjusted"] for row in rows.values()) == pytest.approx(holm.tolist())


def test_a_control_without_seeds_is_compared_on_all_of_yours(tmp_path, mine):
    write_run(
        tmp_path / "b" / "s" / "r", {"chance": SCORES["chance"]}, LABELS, sample_set="one", access=ACCESS,
        unseeded=("chance",),
    )  # fmt: skip
    (found,) = against_field(Run.load(mine), tmp_path / "b")
    (row,) = found.rows
    assert row["message"] == ""
    assert row["first_auroc"] == pytest.approx(found.auroc.value)
    assert found.place == (1, 1)


def test_the_table_marks_yours_in_its_place(cli, board, mine, monkeypatch):
    code, out, err = cli("compare", mine, "--with", "field", "--board", board)
    assert (code, err) == (0, "")
    names = [line.split()[0] for line in out.splitlines()[4:8]]
    assert names == ["a", ">", "one-seed", "b"]
    assert "mine is 2 of 4 by AUROC" in out
    monkeypatch.setenv("COLUMNS", "80")
    assert max(map(len, cli("compare", mine, "--with", "field", "--board", board)[1].splitlines())) <= 80


def test_sets_narrow_it_and_json_holds_the_rows(cli, refused, board, tmp_path):
    both = {"seeds": SEEDS}
    run = write_run(tmp_path / "x", {"new": SCORES["mine"]}, LABELS, sample_set="two", **both)
    code, out, _ = cli("compare", run, "--with", "field", "--board", board, "--sets", "two", "--format", "json")
    assert code == 0
    (row,) = json.loads(out)
    assert (row["sample_set"], row["first"], row["second"], row["second_run"]) == ("two", "new", "a", "other/field")
    refused("compare", run, "--with", "field", "--board", board, "--sets", "one", words=["no sample set in common"])
    refused("compare", run, "--with", "field", "--board", board, "--sets", "three", words=["three", "two, one"])


def test_what_goes_with_the_field(refused, board, mine, tmp_path):
    known = write_run(tmp_path / "k", {"a": SCORES["a"]}, LABELS, seeds=SEEDS, sample_set="one")
    refused("compare", known, "--with", "field", "--board", board, words=["on the board already", "--detector a"])
    refused("compare", mine, "--with", "field", "--board", board, "-d", "nobody", words=["nobody", "it has mine"])
    refused("compare", mine, "--with", "field", "--board", tmp_path / "no", words=["--board", "git clone"])
    refused("compare", mine, "--with", "field", "--against", "mine", words=["--against"])
    refused("compare", mine, mine, "--with", "field", words=["one run"])
    refused("compare", mine, "--sets", "one", words=["--sets belongs to --with field"])
    refused("compare", "mine.py", words=["Python file", "--with field"])


def test_scores_of_other_items_are_not_compared(board, tmp_path):
    write_run(tmp_path / "b2" / "s" / "r", {"a": SCORES["a"]}, LABELS, seeds=SEEDS, content_hash="x")
    run = write_run(tmp_path / "m2", {"mine": SCORES["mine"]}, LABELS, seeds=SEEDS, content_hash="y")
    (found,) = against_field(Run.load(run), tmp_path / "b2")
    assert (found.rows[0]["status"], found.rows[0]["p"]) == ("not-compared", None)
    assert "other items" in found.rows[0]["message"]


def test_scores_of_other_weights_are_not_compared(board, tmp_path):
    hashes = {"model_hashes": {"made": "other"}}
    run = write_run(tmp_path / "m2", {"mine": SCORES["mine"]}, LABELS, seeds=SEEDS, sample_set="one", **hashes)
    (found,) = against_field(Run.load(run), board)
    assert {row["status"] for row in found.rows} == {"not-compared"}
    assert {row["message"] for row in found.rows} == {"scored with other weights of made"}


@pytest.mark.slow
def test_a_plugin_is_scored_by_the_protocol_of_the_board(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(
        "from memdet.detectors import Detector, DetectorInfo\n"
        "class Mine(Detector):\n"
        "    info = DetectorInfo(name='mine', title='mine', access='score', cost='1 F')\n"
        "    def score(self, probe):\n"
        "        x, t = probe.at(None)\n"
        "        return -probe.eps(x, t, 'cond').flatten(1).norm(dim=1)\n"
    )
    arguments = ["compare", "mine.py", "--with", "field", "--board", ROOT / "results", "--sets", "mixture-2d", "-q"]
    code, out, _ = cli(*arguments, "--format", "json")
    assert code == 0
    rows = json.loads(out)
    assert {row["first"] for row in rows} == {"mine"}
    assert {row["sample_set"] for row in rows} == {"mixture-2d"}
    wen = next(row for row in rows if row["second"] == "wen2024")
    assert (wen["n_positive"], wen["n_negative"], wen["seeds"]) == (
        20,
        380,
        Run.load("runs/field-mine").manifest.settings.sample_sets[0].seeds,
    )
    assert wen["status"] == "ok"
