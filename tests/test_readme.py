"""What the README says holds."""

import json
import re
import shlex
from functools import cache
from pathlib import Path

import pytest

from memdet.samplesets import suite_names
from memdet.tables import FORMATS, report_rows
from memdet.tables.by_draws import draw_rows
from memdet.tables.by_time import by_time
from memdet.tables.comparison import compare_detectors
from memdet.tables.numbers import interval, number
from tests.helpers import readme_table

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
FINDINGS = (ROOT / "docs" / "findings.md").read_text()
REFERENCE = ROOT / "results" / "quick" / "reference"


@cache
def rows_of_committed(suite):
    return report_rows([ROOT / "results" / suite / "reference"])


def test_table_is_the_committed_run():
    shown = README.split("readme_table -->\n")[1].split("<!-- end of table -->")[0]
    assert shown.strip() == readme_table.table()
    assert len(re.findall(r"^\| \[", shown, flags=re.MULTILINE)) == 8


def test_the_comparison_is_that_of_the_committed_run():
    rows = compare_detectors(REFERENCE, against="wen2024")
    (row,) = [row for row in rows if (row["sample_set"], row["first"]) == (readme_table.SET, "jeon2025")]
    stated = f"{interval(row, 'difference')}, adjusted p {number(row['p_adjusted'])}."
    assert stated in " ".join(README.split())


def test_the_readme_is_short():
    prose = re.sub(r"<!-- table.*?end of table -->|```.*?```|!\[[^]]*\]|\]\([^)]*\)", "", README, flags=re.DOTALL)
    assert len(prose.split()) <= 600


def test_the_explained_tables_are_those_of_the_committed_run():
    page = (ROOT / "docs" / "reading-tables.md").read_text()
    table = page.split("--format markdown -->\n")[1].split("<!-- end of table -->")[0]
    assert table.strip() == FORMATS["markdown"](report_rows([REFERENCE])).strip()


def test_all_suites_are_explained():
    page = (ROOT / "docs" / "sample-sets.md").read_text()
    rows = set(re.findall(r"^\| `([\w-]+)` \|", page, flags=re.MULTILINE))
    assert set(suite_names()) <= rows


@pytest.mark.slow
def test_findings_show_the_committed_run():
    table = FINDINGS.split("--by-time -->\n")[1].split("<!-- end of table -->")[0]
    assert table.strip() == by_time(rows_of_committed("times"))


@pytest.mark.slow
def test_every_interval_of_the_findings_is_one_of_a_committed_run():
    rows = [
        row for suite in ("controlled", "times", "headline", "few-step", "dear") for row in rows_of_committed(suite)
    ]
    rows += report_rows([ROOT / "results" / "controlled" / "reference"], by_stratum=True)
    known = {interval(row, "auroc") for row in rows} | {interval(row, "tpr_at_1_fpr") for row in rows}
    known |= {interval(row, "auroc") for row in draw_rows([ROOT / "results" / "first-step" / "reference"], [1, 4, 16])}
    for file in (ROOT / "results" / "localization").iterdir():
        known |= {interval(row, name) for row in json.loads(file.read_text()) for name in ("pixel_auroc", "iou")}
    stated = re.findall(r"[01]?\.\d{3} \[[^]]+\]", FINDINGS)
    assert len(stated) > 100
    assert [text for text in stated if text not in known] == []


@pytest.mark.slow
def test_tables_of_throughput_are_those_of_their_command(tmp_path, monkeypatch):
    from memdet.cli import main

    monkeypatch.chdir(ROOT)

    text = (ROOT / "docs" / "throughput.md").read_text()
    tables = re.findall(r"<!-- table: memdet (bench [^>]*) -->\n(.*?)\n<!-- end of table -->", text, flags=re.DOTALL)
    assert len(tables) > 1
    for command, table in tables:
        with pytest.raises(SystemExit) as stop:
            main([*shlex.split(command), "--out", str(tmp_path / "plan.md")])
        assert stop.value.code == 0
        assert (tmp_path / "plan.md").read_text().strip() == table.strip()


def test_bars_are_those_of_the_record():
    from benchmarks.throughput.report import bars

    text = (ROOT / "docs" / "throughput.md").read_text()
    table = text.split("bars-cpu.json -->\n")[1].split("\n<!-- end of table -->")[0]
    assert table == bars(ROOT / "results" / "benchmarks" / "bars-cpu.json")


def test_ci_runs_the_test_command_of_the_readme():
    commands = re.findall(r"```bash\n(.*?)\n```", README, flags=re.DOTALL)
    assert commands[1] in (ROOT / ".ci" / "run").read_text()


def test_example_detector_runs_as_a_plugin(tmp_path):
    from memdet.cli import main

    page = (ROOT / "docs" / "your-detector.md").read_text()
    code = re.search(r"<!-- example.*?```python\n(.*?)```", page, flags=re.DOTALL).group(1)
    assert len(code.splitlines()) < 40
    plugin = tmp_path / "my_detector.py"
    plugin.write_text(code)
    arguments = ["run", "mixture-2d", "--plugin", str(plugin), "--detector", "late-difference@step=3", "--quiet"]
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--out", str(tmp_path / "run")])
    assert stop.value.code == 0
    row = report_rows([tmp_path / "run"])[-1]
    assert (row["detector"], row["status"], row["forwards"]) == ("late-difference@step=3", "ok", 8.0)
