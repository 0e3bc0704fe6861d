"""Rows of one run, so that contestants are compared within it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

Rows = list[dict[str, Any]]


@pytest.fixture(scope="package")
def rows() -> Rows:
    """Everything measured so far."""
    return []


@pytest.fixture
def record(benchmark, rows: Rows) -> Callable[..., None]:
    """Keep a row in the results file and for the comparison at the end; its time is the median of the benchmark."""

    def keep(table: str, **row: Any) -> None:
        row = {"table": table, **row, "threads": torch.get_num_threads()}
        benchmark.extra_info |= row
        rows.append({**row, "seconds": benchmark.stats.stats.median})

    return keep


@pytest.fixture
def table(rows: Rows) -> Callable[..., Rows]:
    """The rows of a table that have these entries; skips the comparison where there are none."""

    def find(name: str, **entries: Any) -> Rows:
        found = [row for row in rows if row["table"] == name and entries.items() <= row.items()]
        if not found:
            pytest.skip("what is compared here was not measured in this run")
        return found

    return find
