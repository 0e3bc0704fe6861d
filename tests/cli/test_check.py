"""``memdet check``: exit codes, and what a shell sees."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml

from memdet.cli import COMMANDS, group
from memdet.tables import report_rows
from tests.helpers.runs import cut_run, write_run

ROOT = Path(__file__).resolve().parents[2]
QUICK = ROOT / "results" / "quick" / "reference"
EXAMPLES = ROOT / "docs" / "examples"
LABELS = np.arange(40) % 2
SCORES = np.random.default_rng(0).normal(size=40) + 2 * LABELS


@pytest.fixture
def baseline(tmp_path):
    return write_run(tmp_path / "baseline", {"good": SCORES, "bad": SCORES}, LABELS)


@pytest.fixture
def worse(tmp_path):
    return write_run(tmp_path / "worse", {"good": SCORES, "bad": -SCORES}, LABELS)


def test_a_committed_run_passes_against_itself(cli):
    code, out, err = cli("check", QUICK, "--baseline", QUICK)
    assert code == 0
    assert out.startswith("memdet check passed")
    assert "tiny-sd-a-verbatim" in out
    assert err == ""


@pytest.mark.slow
def test_a_sign_flip_in_a_committed_run_is_named(cli, tmp_path):
    def flip(frame):
        chosen = (frame["detector"] == "wen2024") & (frame["sample_set"] == "tiny-sd-a-verbatim")
        return frame.assign(score=frame["score"].where(~chosen, -frame["score"]))

    code, out, _ = cli("check", cut_run(tmp_path / "run", QUICK, change=flip), "--baseline", QUICK)
    assert code == 1
    assert "FAILED (1 drop, 1 drift)" in out.splitlines()[0]
    area = next(
        row["auroc"]
        for row in report_rows([QUICK])
        if (row["sample_set"], row["detector"]) == ("tiny-sd-a-verbatim", "wen2024")
    )
    words = f"AUROC {area:.4f} -> {1 - area:.4f}, change {1 - 2 * area:+.4f} ["
    assert f"drop: wen2024 on tiny-sd-a-verbatim\n  {words}" in out


def test_options(cli, baseline, worse):
    arguments = ["check", worse, "--baseline", baseline, "--format", "json"]
    content = json.loads(cli(*arguments)[1])
    assert [failure["kind"] for failure in content["failures"]] == ["drop", "drift"]
    assert (content["tolerance"], content["alpha"]) == (0.01, 0.05)
    assert cli(*arguments, "--tolerance", "1")[0] == 1  # it still drifts
    assert cli(*arguments, "--tolerance", "1", "--drift", "1e9")[0] == 0


def test_out_writes_the_file_and_says_the_verdict(cli, baseline, worse, tmp_path):
    target = tmp_path / "deep" / "gate.md"
    code, out, err = cli("check", worse, "--baseline", baseline, "--format", "markdown", "--out", target)
    assert (code, out) == (1, "")
    assert err.startswith("memdet check FAILED")
    assert "**drop**: bad on made" in target.read_text()
    assert [path.name for path in target.parent.iterdir()] == ["gate.md"]


def test_no_run(refused, baseline, tmp_path):
    refused("check", tmp_path / "nowhere", "--baseline", baseline, words=["nowhere", "run.json is missing"])
    refused("check", baseline, "--baseline", tmp_path / "nowhere", words=["nowhere", "run.json is missing"])


def test_an_unfinished_run(refused, baseline, worse):
    (worse / "scores.parquet").unlink()
    refused("check", worse, "--baseline", baseline, words=["worse", "unfinished", "resume"])


def test_a_damaged_run(refused, baseline, worse):
    (worse / "scores.parquet").write_bytes(b"PAR1 and nothing else")
    refused("check", worse, "--baseline", baseline, words=["scores.parquet", "damaged"])


def test_another_version_of_the_sample_set(refused, baseline, tmp_path):
    later = write_run(tmp_path / "later", {"good": SCORES}, LABELS, version=2)
    refused("check", later, "--baseline", baseline, words=["version 2 of sample set made", "version 1", "new baseline"])


def test_a_level_that_no_number_of_exchanges_resolves(refused, baseline):
    refused("check", baseline, "--baseline", baseline, "--alpha", "1e-9", words=["1e-09", "exchanges", "larger"])


@pytest.mark.parametrize(("option", "value"), [("--tolerance", "2"), ("--alpha", "0"), ("--drift", "-1")])
def test_numbers_out_of_range(option, value, refused, baseline):
    refused("check", baseline, "--baseline", baseline, option, value, words=[option.strip("-"), value, "give a number"])


def test_no_baseline(cli, baseline):
    code, _, err = cli("check", baseline)
    assert code == 2
    assert "--baseline" in err


def test_the_file_of_an_older_check_survives_bad_input(refused, baseline, tmp_path):
    (tmp_path / "gate.txt").write_text("keep me")
    arguments = ["check", tmp_path / "nowhere", "--baseline", baseline, "--out", tmp_path / "gate.txt"]
    refused(*arguments, words=["nowhere"])
    assert (tmp_path / "gate.txt").read_text() == "keep me"


def test_the_example_workflow_uses_commands_and_flags_that_exist():
    workflow = yaml.safe_load((EXAMPLES / "memdet-gate.yml").read_text())
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert all(("uses" in step) != ("run" in step) for step in steps)
    lines = [line for step in steps for line in step.get("run", "").splitlines()]
    commands = [shlex.split(line.partition("|")[0]) for line in lines if line.startswith("memdet ")]
    assert [arguments[1] for arguments in commands] == ["run", "check"]
    for _, name, *arguments in commands:
        assert name in COMMANDS
        command = group.get_command(None, name)
        context = command.make_context(name, arguments)  # raises on an unknown flag or a value that does not fit
        assert context.params
    run, check = (command[2:] for command in commands)
    assert run[run.index("--out") + 1] == check[0]
    piped = next(step for step in steps if "| tee" in step.get("run", ""))
    assert piped["shell"] == "bash"  # GitHub runs that one with -o pipefail
