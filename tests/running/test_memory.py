"""How freed memory is kept, and when it is given back."""

import subprocess
import sys

import pytest

from memdet.results import memory

# A block of 64 MiB is freed and taken again fifty times; what counts is how many pages the system had to give.
PROGRAM = """
import resource
import torch
from memdet.running.memory import keep_freed_memory

if {keep}:
    assert keep_freed_memory()
for _ in range(50):
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a switch of glibc")
def test_freed_blocks_are_used_again():
    def faults(keep: bool) -> int:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM.format(keep=keep)], capture_output=True, check=True, text=True
        )
        return int(done.stdout)

    assert faults(keep=True) < faults(keep=False) / 5


@pytest.mark.parametrize(("rows", "calls"), [(0, 0), (4_095, 0), (4_096, 1), (100_000, 1)])
def test_only_a_run_of_many_items_gives_memory_back(monkeypatch, rows, calls):
    asked = []
    monkeypatch.setattr(memory, "glibc", lambda name: lambda *args: asked.append((name, args)))
    memory.give_back_memory(rows)
    assert asked == [("malloc_trim", (0,))] * calls
