"""Every mistake a user can make: exit code 2, one clear line, nothing half-written."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from memdet.samplesets import specs_directory

STORED_RUN = Path(__file__).resolve().parents[1] / "results" / "stored" / "run-v1"

GOOD = [{"prompt": "alderon plain coat", "memorized": 1}, {"prompt": "birkwell soft dress", "memorized": 0}]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def samples(tmp_path):
    return write(tmp_path / "mine.jsonl", GOOD)


def test_missing_model_directory(refused, samples, tmp_path):
    out = tmp_path / "run"
    arguments = ["run", "--model", tmp_path / "nowhere", "--samples", samples, "--out", out]
    refused(*arguments, words=["nowhere"], untouched=out)


def test_directory_without_a_pipeline(refused, samples, tmp_path):
    (tmp_path / "model").mkdir()
    out = tmp_path / "run"
    arguments = ["run", "--model", tmp_path / "model", "--samples", samples, "--out", out]
    refused(*arguments, words=["model_index.json", "save_pretrained"], untouched=out)


def test_pickle_weights(refused, samples, copy_of_pipeline, tmp_path):
    model = copy_of_pipeline()
    weights = next((model / "unet").glob("*.safetensors"))
    weights.rename(weights.with_name("diffusion_pytorch_model.bin"))
    out = tmp_path / "run"
    arguments = ["run", "--model", model, "--samples", samples, "--out", out]
    refused(*arguments, words=["pickle", "DiffusionPipeline.from_pretrained("], untouched=out)


BAD_LINES = {
    "missing prompt": (b'{"memorized": 1}\n', ["line 1", "prompt"]),
    "missing label": (b'{"prompt": "a", "memorized": 1}\n{"prompt": "b"}\n', ["line 2", "memorized"]),
    "label that is not 0 or 1": (b'{"prompt": "a", "memorized": 2}\n', ["line 1", "memorized"]),
    "only one class": (b'{"prompt": "a", "memorized": 1}\n{"prompt": "b", "memorized": 1}\n', ["only memorized"]),
    "invalid UTF-8": (b'{"prompt": "\xff", "memorized": 1}\n', ["UTF-8"]),
    "invalid JSON": (b'{"prompt": "a", \n', ["line 1", "JSON"]),
    "no lines": (b"", ["mine.jsonl"]),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_samples_file(name, refused, tmp_path):
    content, words = BAD_LINES[name]
    path, out = tmp_path / "mine.jsonl", tmp_path / "run"
    path.write_bytes(content)
    refused("run", "--model", "tiny-sd-a", "--samples", path, "--out", out, words=words, untouched=out)


def test_missing_samples_file(refused, tmp_path):
    refused("run", "--model", "tiny-sd-a", "--samples", tmp_path / "none.jsonl", words=["none.jsonl"])


def test_empty_line_at_the_end_is_accepted(cli, samples, tmp_path):
    samples.write_text(samples.read_text() + "\n\n")
    arguments = ["run", "--model", "tiny-sd-a", "--samples", samples, "--detector", "wen2024", "--quiet"]
    code, out, _ = cli(*arguments, "--out", tmp_path / "run")
    assert code == 0
    assert "mine" in out


def test_model_without_samples(refused):
    refused("run", "--model", "tiny-sd-a", words=["--samples"])


def test_nothing_to_run(refused):
    refused("run", words=["--suite quick"])


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        (["mixture-2d", "--detector", "wen2025"], "wen2024"),
        (["mixture-2d", "--detector", "wen2024@step=5"], "steps"),
        (["mixture-2d", "--detector", "wen2024@steps=five"], "steps"),
        (["--suite", "quik"], "quick"),
        (["mixture-3d"], "mixture-2d"),
        (["mixture-2d", "--device", "abacus"], "abacus"),
        (["mixture-2d", "--batch-size", "many"], "auto"),
        (["mixture-2d", "--plugin", "no_such_file.py"], "no_such_file.py"),
    ],
)
def test_unknown_names_show_the_nearest(arguments, near, refused, tmp_path):
    out = tmp_path / "run"
    refused("run", *arguments, "--out", out, words=[near], untouched=out)


@pytest.fixture
def spec(tmp_path):
    """A spec file with its data, changed as a test likes."""

    def write_spec(**changes):
        shutil.copy(specs_directory() / "data" / "mixture-2d.csv", tmp_path / "items.csv")
        content = yaml.safe_load((specs_directory() / "mixture-2d.yaml").read_text())
        content["source"] = {"kind": "local", "path": "items.csv", "sha256": content["source"]["sha256"]}
        path = tmp_path / "spec.yaml"
        path.write_text(yaml.safe_dump(content | changes))
        return path

    return write_spec


def test_spec_with_an_unknown_field(refused, spec, tmp_path):
    out = tmp_path / "run"
    refused("run", spec(titel="x"), "--out", out, words=["titel", "title", "spec.yaml"], untouched=out)


def test_spec_with_a_wrong_checksum(refused, spec, tmp_path):
    out, path = tmp_path / "run", spec()
    (tmp_path / "items.csv").write_text("item_id,condition,memorized\na,tight,1\n")
    refused("run", path, "--out", out, words=["items.csv", "sha256"], untouched=out)


def test_spec_that_is_right(cli, spec, tmp_path):
    code, _, _ = cli("run", spec(), "--detector", "wen2024", "--quiet", "--out", tmp_path / "run")
    assert code == 0


def test_out_holds_another_run(refused, cli, tmp_path):
    arguments = ["run", "mixture-2d", "--quiet", "--out", tmp_path / "run", "--detector"]
    assert cli(*arguments, "wen2024")[0] == 0
    refused(
        *arguments,
        "random",
        words=["other settings", "detector wen2024 is in it", "new directory", "repeat its command"],
    )
    refused(*arguments, "wen2024", "--seeds", "3", words=["other settings", "mixture-2d: seeds 2, now 3"])


@pytest.mark.parametrize("place", ["file", "below a file"])
def test_unwritable_place(place, refused, tmp_path):
    (tmp_path / "taken").write_text("keep me")
    out = tmp_path / "taken" if place == "file" else tmp_path / "taken" / "run"
    refused("run", "mixture-2d", "--detector", "wen2024", "--quiet", "--out", out, words=["taken"])
    assert (tmp_path / "taken").read_text() == "keep me"


@pytest.mark.slow
def test_full_disk(tmp_path):
    """A limit on file size makes the write of the first shard fail as a full disk does."""
    script = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "from memdet.cli import main; import memdet.results.store as s; write = s.pq.ParquetWriter\n"
        "def limited(*a, **k):\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (64, resource.RLIM_INFINITY)); return write(*a, **k)\n"
        "s.pq.ParquetWriter = limited\n"
        "main(['run', 'mixture-2d', '--detector', 'random', '--quiet', '--out', 'run'])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("memdet: ")
    assert len(done.stderr.splitlines()) == 1
    assert list((tmp_path / "run" / "shards").iterdir()) == []


@pytest.mark.parametrize("damage", ["missing", "no run", "unfinished", "damaged"])
def test_report_of_what_is_no_run(damage, refused, tmp_path):
    run = tmp_path / "run"
    if damage != "missing":
        run.mkdir()
    if damage in {"unfinished", "damaged"}:
        (run / "run.json").write_text(json.dumps({"schema_version": 1, "settings": {"detectors": []}}))
    if damage == "damaged":
        (run / "scores.parquet").write_bytes(b"PAR1 and nothing else")
    word = {"unfinished": "resume", "damaged": "damaged"}.get(damage, "run.json")
    refused("report", run, words=[word, str(run)])


def test_report_of_a_score_table_without_a_column(refused, tmp_path):
    import pyarrow.parquet as pq

    from memdet.results import SCHEMA_VERSION, SCORES

    (tmp_path / "run.json").write_text(json.dumps({"schema_version": SCHEMA_VERSION, "settings": {"detectors": []}}))
    schema = SCORES.remove(SCORES.get_field_index("stratum"))
    pq.write_table(schema.empty_table(), tmp_path / "scores.parquet")
    refused("report", tmp_path, words=["scores.parquet", "damaged", "stratum"])


def test_leaderboard_takes_one_directory(refused, tmp_path):
    for extra in ([tmp_path / "other"], ["--by-stratum"], ["--by-time"]):
        refused("report", tmp_path, *extra, "--leaderboard", words=["one directory", "memdet leaderboard"])


def test_leaderboard_of_a_directory_without_runs(refused, tmp_path):
    refused("report", tmp_path, "--leaderboard", words=["no finished run", "scores.parquet"])
    assert not list(tmp_path.iterdir())


def test_report_of_a_newer_schema(refused, tmp_path):
    (tmp_path / "run.json").write_text('{"schema_version": 99}')
    refused("report", tmp_path, words=["99", "upgrade"])


def test_workers_are_for_the_cpu(refused):
    refused("run", "mixture-2d", "--device", "meta", "--workers", "2", words=["--workers 2", "CPU"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--format", "html"], ["--out FILE.html"]),
        (["--format", "html", "--out", "page.html", "--by-stratum"], ["--by-stratum"]),
        (["--format", "html", "--out", "."], ["is a directory"]),
        (["--images", "2"], ["--images belongs to --format html"]),
    ],
)
def test_page_options_that_do_not_fit(refused, arguments, words):
    refused("report", STORED_RUN, *arguments, words=words)


def test_a_page_of_no_run_leaves_an_older_page(refused, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("older")
    refused("report", tmp_path / "missing", "--format", "html", "--out", page, words=["missing", "no run"])
    assert page.read_text() == "older"
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["report", STORED_RUN, "--out", ""], ["--out is empty"]),
        (["report", STORED_RUN, "--out", "."], ["--out . is a directory"]),
        (["check", STORED_RUN, "--baseline", STORED_RUN, "--tolerance", "nan"], ["--tolerance nan"]),
        (["check", STORED_RUN, "--baseline", STORED_RUN, "--alpha", "2"], ["--alpha 2"]),
        (["check", STORED_RUN, "--baseline", STORED_RUN, "--drift", "-1"], ["--drift -1"]),
        (["bench", "--seconds", "-1"], ["--seconds", "-1", "memdet bench --help"]),
    ],
)
def test_values_that_mean_nothing(refused, arguments, words):
    refused(*arguments, words=words)
