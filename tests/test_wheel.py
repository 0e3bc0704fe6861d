"""An installed wheel runs the main job outside the clone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_wheel_runs_outside_the_clone(tmp_path):
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), "."]
    subprocess.run(build, cwd=ROOT, check=True)
    (wheel,) = tmp_path.glob("memdet-*.whl")
    site = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-compile", "--target", str(site), str(wheel)],
        check=True,
    )
    for name in (
        "py.typed",
        "constraints.txt",
        "bibliography.bib",
        "zoo/SHA256SUMS",
        "inert_page/style.css",
        "extraction/templates/extraction.html",
        "benching/projection/configs/sdxl.json",
    ):
        assert (site / "memdet" / name).exists()
    assert not (site / "studies").exists()
    environment = os.environ | {"PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}
    call = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True}
    where = subprocess.run([sys.executable, "-c", "import memdet; print(memdet.__file__)"], check=True, **call)
    assert Path(where.stdout.strip()).is_relative_to(site)
    arguments = [
        "--suite",
        "quick",
        "--detector",
        "wen2024",
        "--detector",
        "random",
        "--seeds",
        "1",
        "--format",
        "json",
    ]
    done = subprocess.run([sys.executable, "-m", "memdet", "run", *arguments], **call)
    assert done.returncode == 0, done.stderr
    assert {row["sample_set"] for row in json.loads(done.stdout)} == {"mixture-2d", "tiny-sd-a-verbatim"}
    assert (tmp_path / "runs" / "quick" / "scores.parquet").exists()
