"""What the commands print."""

import csv
import io
import json
import subprocess
import sys

import pytest

FIELDS = {
    "sample_set",
    "sample_set_version",
    "detector",
    "access",
    "n_positive",
    "n_negative",
    "n_clusters",
    "auroc",
    "auroc_low",
    "auroc_high",
    "tpr_at_1_fpr",
    "tpr_at_1_fpr_low",
    "tpr_at_1_fpr_high",
    "gain_over_control",
    "forwards",
    "jvps",
    "vjps",
    "seconds_per_item",
    "status",
}


@pytest.fixture
def finished(cli, tmp_path):
    assert cli("run", "mixture-2d", "--detector", "wen2024", "--quiet", "--out", tmp_path / "run")[0] == 0
    return tmp_path / "run"


def test_json_report(cli, finished):
    code, out, _ = cli("report", finished, "--format", "json")
    rows = json.loads(out)
    assert code == 0
    assert all(set(row) >= FIELDS for row in rows)
    wen = next(row for row in rows if row["detector"] == "wen2024")
    control = next(row for row in rows if row["detector"] == "random")
    assert (wen["n_positive"], wen["n_negative"], wen["forwards"], wen["jvps"]) == (20, 380, 2.0, 0.0)
    assert wen["gain_over_control"] == pytest.approx(wen["auroc"] - control["auroc"])
    assert control["gain_over_control"] is None


def test_a_run_that_is_named_twice_is_one(cli, finished):
    once = cli("report", finished, "--format", "json")[1]
    assert json.loads(once)
    for again in (finished, finished.parent, finished.parent / "run" / ".." / "run"):
        assert cli("report", finished, again, "--format", "json")[1] == once


def test_controls_stand_in_every_table(cli, finished):
    rows = json.loads(cli("report", finished, "--format", "json")[1])
    controls = ["random", "prompt-length", "prompt-case", "prompt-digits", "prompt-ngram"]
    assert {row["detector"] for row in rows} == {*controls, "wen2024"}
    assert rows[-1]["detector"] == "wen2024"


def test_csv_report_holds_the_same_numbers(cli, finished):
    rows = json.loads(cli("report", finished, "--format", "json")[1])
    table = list(csv.DictReader(io.StringIO(cli("report", finished, "--format", "csv")[1])))
    assert [float(row["auroc"]) for row in table if row["auroc"]] == [
        r["auroc"] for r in rows if r["auroc"] is not None
    ]


@pytest.mark.parametrize("form", ["table", "markdown"])
def test_text_reports_show_every_row(form, cli, finished):
    out = cli("report", finished, "--format", form)[1]
    for text in ("mixture-2d v1: 20 memorized, 380 not", "random *", "wen2024", "not-applicable"):
        assert text in out


def test_report_to_a_file(cli, finished, tmp_path):
    cli("report", finished, "--format", "json", "--out", tmp_path / "deep" / "table.json")
    assert json.loads((tmp_path / "deep" / "table.json").read_text())
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["table.json"]


def test_report_as_a_page(cli, finished, tmp_path):
    code, out, _ = cli("report", finished, "--format", "html", "--out", tmp_path / "page.html", "--quiet")
    assert (code, out) == (0, "")
    assert "mixture-2d" in (tmp_path / "page.html").read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"run", "page.html"}


@pytest.mark.parametrize("kind", ["detectors", "mitigations", "samples", "models", "suites"])
def test_list(kind, cli):
    rows = json.loads(cli("list", kind, "--format", "json")[1])
    known = {"detectors": "jeon2025", "mitigations": "sail2025", "samples": "tiny-sd-a-verbatim"}
    known |= {"models": "tiny-sd-a", "suites": "quick"}
    assert known[kind] in {row.get("name", row.get("id")) for row in rows}
    text = cli("list", kind)[1]
    assert all(str(row.get("name", row.get("id"))) in text for row in rows)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["run", "--help"],
        ["list", "detectors"],
        ["list", "samples"],
        ["check", "--help"],
        ["scan", "--help"],
        ["doctor", "--help"],
    ],
)
def test_fast_commands_import_no_torch(arguments):
    script = (
        "import sys\nfrom memdet.cli import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit as stop:\n    assert stop.code == 0\n"
        "assert not {'torch', 'pandas', 'matplotlib', 'diffusers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_unknown_command_and_module_entry():
    done = subprocess.run([sys.executable, "-m", "memdet", "rum"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "rum" in done.stderr
    assert "Traceback" not in done.stderr


def test_other_detectors_on_a_set_have_a_run_of_their_own(cli, tmp_path, monkeypatch):
    """Without --out nothing collides, and each command finds its own run again."""
    monkeypatch.chdir(tmp_path)
    arguments = ["run", "mixture-2d", "--seeds", "1", "--quiet", "--format", "json", "--detector"]
    for _ in range(2):
        for name, place in (("wen2024", "mixture-2d"), ("jeon2025", "mixture-2d-2"), ("metric2", "mixture-2d-3")):
            code, out, err = cli(*arguments, name)
            assert code == 0, err
            assert f"Run directory: runs/{place}\n" in err
            assert name in {row["detector"] for row in json.loads(out)}
    assert "runs/mixture-2d holds other detectors or sample sets; this run goes to runs/mixture-2d-3" in err
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["mixture-2d", "mixture-2d-2", "mixture-2d-3"]


def test_failed_item_gives_exit_code_1(cli, tmp_path):
    plugin = tmp_path / "plugin.py"
    plugin.write_text(
        "from memdet import Detector, DetectorInfo\n"
        "class Broken(Detector):\n"
        "    info = DetectorInfo(name='broken', title='', access='score', cost='none')\n"
        "    def score(self, probe):\n"
        "        raise ValueError('no')\n"
    )
    arguments = ["mixture-2d", "--plugin", plugin, "--detector", "broken", "--detector", "random", "--quiet"]
    code, out, _ = cli("run", *arguments, "--out", tmp_path / "run")
    assert code == 1
    assert "error: ValueError: no" in out
