"""``action.yml``: what its steps do, in bash, with what GitHub gives them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.helpers.runs import write_run

ROOT = Path(__file__).resolve().parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
PAGE = (ROOT / "docs" / "accuracy-gate.md").read_text(encoding="utf-8")
INSTALL, GATE = ACTION["runs"]["steps"]
LABELS = np.repeat([1, 0], 40)

MEMDET = """#!/usr/bin/env bash
printf '%s\\n' "$*" >> "$LOG"
if [ "$1" = run ]; then
  for one in "$@"; do case "$one" in --out=*) out="${one#--out=}" ;; esac; done
  mkdir -p "$(dirname "$out")" && cp -r "$MADE" "$out"
  exit "${RUN_STATUS:-0}"
fi
if [ -n "${CHECK_STATUS:-}" ]; then echo "a table"; exit "$CHECK_STATUS"; fi
exec "$PYTHON" -m memdet "$@"
"""


@pytest.fixture
def job(tmp_path):
    """Run a step in a workspace.

    Its ``memdet`` gives a run that is there, and passes a check on to memdet unless its exit code is said.
    """
    good = np.arange(80.0)[::-1].copy()
    write_run(tmp_path / "base line", {"mine": good}, LABELS)
    (tmp_path / "bin").mkdir()
    for name, text in (("memdet", MEMDET), ("python", '#!/usr/bin/env bash\nprintf "%s\\n" "$*" >> "$LOG"\n')):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)

    def run(step, made, run_status=0, check_status="", **inputs):
        shutil.rmtree(tmp_path / "runs", ignore_errors=True)
        given = {name: str(known.get("default", "")) for name, known in ACTION["inputs"].items()} | inputs
        files = {name: tmp_path / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "LOG")}
        for file in files.values():
            file.write_text("")
        named = {name: re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda found: given[found[1]], text)
                 for name, text in step.get("env", {}).items()}  # fmt: skip
        environment = {name: str(path) for name, path in files.items()} | named
        environment |= {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "PYTHON": sys.executable, "MADE": str(made)}
        environment |= {
            "GITHUB_ACTION_PATH": str(ROOT),
            "RUN_STATUS": str(run_status),
            "CHECK_STATUS": str(check_status),
        }
        environment |= {"PYTHONPATH": str(ROOT)}
        script = tmp_path / "step.sh"
        script.write_text(step["run"])
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", script]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        outputs = dict(line.split("=", 1) for line in files["GITHUB_OUTPUT"].read_text().splitlines())
        return done, outputs, files["GITHUB_STEP_SUMMARY"].read_text(), files["LOG"].read_text().splitlines()

    return run


def test_it_is_what_github_takes():
    assert ACTION["runs"]["using"] == "composite"
    assert all(step["shell"] == "bash" for step in ACTION["runs"]["steps"])
    assert [name for name, given in ACTION["inputs"].items() if given.get("required")] == ["baseline"]
    assert all(given["description"] for part in ("inputs", "outputs") for given in ACTION[part].values())
    assert all("${{" not in step["run"] for step in ACTION["runs"]["steps"])  # no input is a part of a script
    used = {name for text in GATE["env"].values() for name in re.findall(r"inputs\.([\w-]+)", text)}
    assert used | {"install"} == set(ACTION["inputs"])
    assert set(re.findall(r"outputs\.(\w+)", str(ACTION["outputs"]))) == {"run", "passed"}


def test_the_workflow_of_the_page_fits_the_action():
    (block,) = [text for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if "uses: memdet/memdet@" in text]
    (job,) = yaml.safe_load(block)["jobs"].values()
    (step,) = [step for step in job["steps"] if step.get("uses", "").startswith("memdet/memdet@")]
    assert set(step["with"]) <= set(ACTION["inputs"])
    assert "baseline" in step["with"]
    for name in ACTION["inputs"]:
        assert f"`{name}`" in PAGE


def test_it_installs_its_own_version(job, tmp_path):
    done, _, _, log = job(INSTALL, tmp_path)
    assert done.returncode == 0
    assert log == [f"-m pip install --quiet -c {ROOT}/constraints.txt {ROOT}"]
    assert INSTALL["if"] == "inputs.install == 'true'"


def test_a_check_that_passes(job, tmp_path):
    done, outputs, summary, log = job(GATE, tmp_path / "base line", check_status=0, baseline="base line", workers="2")
    assert done.returncode == 0, done.stderr
    assert outputs == {"run": "runs/memdet-gate", "passed": "true"}
    assert summary == "a table\n"
    assert log[0] == "run --quiet --workers=2 --out=runs/memdet-gate --suite=quick"


@pytest.mark.slow
def test_what_got_worse_fails_and_the_table_says_so(job, tmp_path):
    worse = write_run(tmp_path / "worse", {"mine": np.arange(80.0)}, LABELS)
    inputs = {"baseline": "base line", "sample-sets": "a.yaml\nb", "detectors": "mine wen2024@steps=5", "seeds": "2"}
    inputs |= {"plugins": "my.py", "tolerance": "0.02", "out": "runs/new run"}
    done, outputs, summary, log = job(GATE, worse, **inputs)
    assert done.returncode == 1
    assert outputs == {"run": "runs/new run", "passed": "false"}
    assert "memdet check FAILED" in summary
    assert "AUROC 1.0000" in summary
    assert summary in done.stdout
    named = "--detector=mine --detector=wen2024@steps=5 --plugin=my.py --seeds=2"
    assert log == [
        f"run --quiet --workers=1 --out=runs/new run {named} -- a.yaml b",
        "check runs/new run --baseline=base line --tolerance=0.02 --format=markdown",
    ]


def test_a_run_that_cannot_be_made_stops_it(job, tmp_path):
    done, outputs, summary, log = job(GATE, tmp_path / "base line", run_status=2, baseline="base line")
    assert (done.returncode, outputs, summary, len(log)) == (2, {}, "", 1)


def test_a_detector_that_fails_is_told_by_the_gate(job, tmp_path):
    done, outputs, summary, log = job(GATE, tmp_path / "base line", 1, check_status=1, baseline="base line")
    assert (done.returncode, outputs["passed"], summary) == (1, "false", "a table\n")
    assert log[1] == "check runs/memdet-gate --baseline=base line --format=markdown"


def test_a_baseline_that_is_none_fails(job, tmp_path):
    done, outputs, *_ = job(GATE, tmp_path / "base line", check_status=2, baseline="nowhere")
    assert (done.returncode, outputs["passed"]) == (2, "false")


def test_memdet_understands_what_the_step_says(job, tmp_path):
    from memdet.cli.run import command

    inputs = {"sample-sets": "a.yaml b", "detectors": "mine", "plugins": "my.py", "seeds": "2", "out": "runs/new"}
    log = job(GATE, tmp_path / "base line", run_status=2, **inputs)[3]
    given = command.make_context("run", log[0].split()[1:]).params
    assert (given["specs"], given["names"], given["seeds"]) == (("a.yaml", "b"), ("mine",), 2)
    assert (given["plugins"], given["out"], given["workers"]) == ((Path("my.py"),), Path("runs/new"), 1)
    log = job(GATE, tmp_path / "base line", run_status=2)[3]
    assert command.make_context("run", log[0].split()[1:]).params["suite"] == "quick"


def test_what_stands_in_an_input_is_no_command(job, tmp_path):
    done, _, _, log = job(GATE, tmp_path / "base line", run_status=2, detectors="$(touch${IFS}made) * `touch made`")
    assert done.returncode == 2
    assert not (tmp_path / "made").exists()
    assert "--detector=$(touch${IFS}made) --detector=* --detector=`touch --detector=made`" in log[0]
