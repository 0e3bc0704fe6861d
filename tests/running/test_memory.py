"""Memory that is kept or given back."""

import pytest

from memdet.running import memory


@pytest.mark.parametrize(("rows", "calls"), [(0, 0), (4_095, 0), (4_096, 1), (100_000, 1)])
def test_only_a_run_of_many_items_gives_memory_back(monkeypatch, rows, calls):
    asked = []
    monkeypatch.setattr(memory, "_glibc", lambda name: lambda *args: asked.append((name, args)))
    memory.give_back_memory(rows)
    assert asked == [("malloc_trim", (0,))] * calls
