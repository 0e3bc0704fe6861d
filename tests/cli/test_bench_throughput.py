"""``memdet bench``: throughput."""

import json
import statistics

import pytest

FAST = [
    "bench",
    "--sample-set",
    "mixture-2d",
    "--batch-size",
    "8",
    "--rounds",
    "7",
    "--device",
    "cpu",
    "--noise",
    "shared",
    "--quiet",
]
CONTRACT = {
    "detector",
    "model",
    "device",
    "dtype",
    "batch_size",
    "items_per_second",
    "forwards_per_second",
    "efficiency",
    "peak_memory_bytes",
    "measured",
}


@pytest.fixture
def measured(cli, tmp_path):
    code, out, err = cli(
        *FAST, "--no-memory", "--detector", "wen2024", "--detector", "bright-ending", "--format", "json",
        "--out", tmp_path / "a.json",
    )  # fmt: skip
    assert (code, out, err) == (0, "", "")
    return tmp_path / "a.json"


def test_json_keeps_the_contract(measured):
    wen, refused = json.loads(measured.read_text())
    assert set(wen) >= CONTRACT
    assert (wen["detector"], wen["model"], wen["batch_size"], wen["measured"]) == ("wen2024", "mixture-2d", 8, True)
    assert (wen["forwards"], wen["jvps"], wen["vjps"], wen["rounds"]) == (1, 0, 0, 7)
    assert wen["items_per_second"] == pytest.approx(statistics.median(8 / s for s in wen["seconds"]))
    assert wen["efficiency"] == pytest.approx(
        statistics.median(b / s for b, s in zip(wen["bare_seconds"], wen["seconds"], strict=True))
    )
    assert wen["efficiency_low"] <= wen["efficiency"] <= wen["efficiency_high"]
    assert wen["machine"]["threads"] >= 1
    assert (refused["measured"], refused["status"], refused["items_per_second"]) == (False, "not-applicable", None)


def test_a_saved_file_is_shown_in_other_formats(measured, cli):
    code, table, _ = cli("bench", "--from", measured)
    assert code == 0
    assert "wen2024" in table
    assert "not-applicable" in table
    assert "mixture-2d, float64, shared noise: cpu" in table
    rows = cli("bench", "--from", measured, "--format", "csv")[1].splitlines()
    assert rows[0].split(",")[1:3] == ["detector", "model"]
    assert len(rows) == 3
    markdown = cli("bench", "--from", measured, "--format", "markdown")[1]
    assert sum(line.startswith("| ") for line in markdown.splitlines()) == 2 + 2


def test_pytest_benchmark_reads_its_format(measured, cli, tmp_path, monkeypatch, capfd):
    from pytest_benchmark.cli import main as read

    saved = tmp_path / "b.json"
    assert cli("bench", "--from", measured, "--format", "pytest-benchmark", "--out", saved)[0] == 0
    (one,) = json.loads(saved.read_text())["benchmarks"]
    seconds = json.loads(measured.read_text())[0]["seconds"]
    assert one["stats"]["median"] == pytest.approx(statistics.median(seconds))
    assert one["stats"]["mean"] == pytest.approx(statistics.mean(seconds))
    assert one["extra_info"]["noise"] == "shared"
    monkeypatch.setattr("sys.argv", ["pytest-benchmark", "compare", str(saved), "--columns=median,rounds"])
    read()
    assert "bench[wen2024-mixture-2d-8" in capfd.readouterr().out


def test_models_dtypes_and_batch_sizes_are_crossed(cli):
    several = ["--model", "mixture-2d", "--model", "toy-2d", "--dtype", "float32", "--dtype", "float64"]
    several += ["--batch-size", "16", "--detector", "wen2024", "--no-memory", "--format", "json"]
    rows = json.loads(cli(*FAST, *several)[1])
    found = [(row["model"], row["dtype"], row["batch_size"]) for row in rows]
    toy = [("toy-2d", dtype, size) for dtype in ("float32", "float64") for size in (8, 16)]
    assert set(toy) < set(found)
    assert len(found) == len(rows) == 8  # a closed form is computed in float64 whatever is asked


@pytest.mark.slow
def test_peak_memory_is_taken_in_another_process(cli):
    (row,) = json.loads(cli(*FAST, "--detector", "wen2024", "--format", "json")[1])
    assert row["peak_memory_bytes"] > 50e6  # an interpreter with torch


def test_compare_interleaves_two_arms(cli):
    code, out, _ = cli(*FAST, "--compare", "wen2024@steps=5", "bare-forward", "--format", "json")
    row = json.loads(out)
    assert code == 0
    assert (row["first"], row["second"], row["batch_size"]) == ("wen2024@steps=5", "bare-forward", 8)
    assert len(row["first_seconds"]) == len(row["second_seconds"]) == row["rounds"] == 7
    ratios = [a / b for a, b in zip(row["first_seconds"], row["second_seconds"], strict=True)]
    assert row["ratio"] == pytest.approx(statistics.median(ratios))
    assert (row["ratio_low"], row["ratio_high"]) == (min(ratios), max(ratios))
    code, out, _ = cli(*FAST, "--compare", "wen2024@steps=5", "bare-forward")
    assert code == 0
    assert "times as long as bare-forward" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--format", "xml"], ["--format 'xml'", "pytest-benchmark"]),
        (["--detector", "nonesuch"], ["nonesuch"]),
        (["--compare", "wen2024", "nonesuch"], ["nonesuch"]),
        (["--compare", "wen2024", "bright-ending"], ["bright-ending", "not-applicable"]),
        (["--compare", "wen2024", "jeon2025", "--detector", "dsm"], ["--compare", "one batch size"]),
        (["--from", "README.md"], ["README.md"]),
        (["--model", "nonesuch"], ["nonesuch"]),
    ],
)
def test_what_cannot_be_is_refused(arguments, words, refused):
    refused(*FAST, *arguments, words=words)


def test_subcommands_do_not_take_what_the_group_measures(refused):
    refused("bench", "--detector", "wen2024", "plan", "--model", "sd-1.4", words=["--detector", "plan"])
