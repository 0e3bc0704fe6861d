"""The five paths of docs/first-steps.md, as written there, in a directory that has the clone's results."""

import json
import re
import shlex
import subprocess

import pytest

import memdet
from tests.helpers.source import ROOT

PAGE = (ROOT / "docs" / "first-steps.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, flags=re.MULTILINE | re.DOTALL))


@pytest.fixture
def walk(tmp_path, monkeypatch, cli):
    """Walks one section of the page and gives what its commands print; each must end with exit code 0."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").symlink_to(ROOT / "results")

    def through(title):
        if code := re.search(r"`(\w+\.py)`:\n\n```python\n(.*?)```", SECTIONS[title], flags=re.DOTALL):
            (tmp_path / code[1]).write_text(code[2])
        printed = []
        for command in "\n".join(re.findall(r"```bash\n(.*?)```", SECTIONS[title], flags=re.DOTALL)).splitlines():
            if command.startswith("memdet "):
                status, out, err = cli(*shlex.split(command)[1:])
                assert status == 0, f"{command}\n{err}"
                printed.append(out)
            else:
                subprocess.run(command, shell=True, check=True)
        shown = re.findall(r"```text\n(.*?)\n```", SECTIONS[title], flags=re.DOTALL)
        assert [text for text in shown if text not in "".join(printed)] == []
        return printed

    return through


def test_there_are_five_paths():
    assert len(SECTIONS) == 5
    assert all("```bash" in text and "Next: [" in text for text in SECTIONS.values())


@pytest.mark.slow
def test_compare_detectors(walk):
    listed, told, table, tests = walk("Compare detectors")
    assert all(name in listed for name in ("wen2024", "curvature-gap"))
    assert told.startswith("wen2024")
    run = memdet.load_run("runs/field")
    known = {row["detector"]: row["auroc"] for row in run.table}
    assert known["curvature-gap"] > known["wen2024"] > known["random"]
    assert len([name for name in known if name not in {"wen2024", "curvature-gap"}]) == 5
    assert all(name in table and name in tests for name in known)


@pytest.mark.slow
def test_fail_ci_when_a_detector_gets_worse(walk):
    assert walk("Fail CI when a detector gets worse")[-1].startswith("memdet check passed")


@pytest.mark.slow
def test_know_what_a_detector_costs(walk):
    (printed,) = walk("Know what a detector costs")
    assert "nothing was measured" in printed
    assert "1,000 prompts x 4 noise seeds" in printed
    assert re.search(r"wen2024 +2 F +[\d.]+ (s|min)", printed)
    assert re.search(r"jeon2025 +2 F \+ 2 JVP +[\d.]+ (s|min)", printed)


@pytest.mark.slow
def test_scan_a_model(walk, tmp_path):
    walk("Scan a model")
    found = json.loads((tmp_path / "runs" / "scan" / "scan.json").read_text())
    assert len(found["ranking"]) == 20
    scores = [row["score"] for row in found["ranking"]]
    assert scores == sorted(scores, reverse=True)
    assert (tmp_path / "runs" / "scan" / "scan.html").is_file()
    assert len(list((tmp_path / "runs" / "scan" / "generations").rglob("*.png"))) > 1


@pytest.mark.slow
def test_write_a_detector(walk):
    checks, table = walk("Write a detector")
    lines = [line.split()[0] for line in checks.splitlines()[1:]]
    assert lines
    assert set(lines) == {"passed"}
    assert "first-difference" in table
    scores = memdet.load_run("runs/mine").score_rows()
    assert (scores[scores.detector == "first-difference"].status == "ok").all()
