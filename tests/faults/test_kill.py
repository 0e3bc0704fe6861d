"""A run that is killed at any point goes on, and loses nothing."""

import os
import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_runs_lose_nothing():
    command = [sys.executable, "-m", "tests.faults.kill", "--kills", "3", "--workers", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 rows lost, 0 rows doubled, 0 other files, 0 not resumed" in done.stdout
