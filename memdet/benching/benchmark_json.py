"""Throughput in the JSON of pytest-benchmark, which its ``compare`` command and CI services read."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Any

from memdet.errors import UserError
from memdet.io_utils import json_text


def benchmark_json(rows: Sequence[dict[str, Any]]) -> str:
    """Rows of :func:`~memdet.benching.throughput_table.throughput_rows`; seconds are of a batch.

    Raises:
        UserError: pytest-benchmark is not installed.
    """
    try:
        import pytest_benchmark
        from pytest_benchmark.stats import Stats
        from pytest_benchmark.utils import get_commit_info
    except ImportError:
        raise UserError("this format needs pytest-benchmark: pip install 'memdet[bench]'") from None
    benchmarks = []
    for row in rows:
        if not row["measured"]:
            continue
        stats = Stats()
        for seconds in row["seconds"]:
            stats.update(seconds)
        timer = "events" if row["device"].startswith("cuda") else "perf_counter"
        params = {key: row[key] for key in ("detector", "model", "batch_size", "dtype", "device", "accelerate")}
        name = f"bench[{'-'.join(str(value) for value in params.values())}]"
        benchmarks.append(
            {
                "group": f"{row['model']}-{row['batch_size']}",
                "name": name,
                "fullname": f"memdet/{name}",
                "params": params,
                "param": name[6:-1],
                "extra_info": {key: value for key, value in row.items() if key not in {*params, "seconds", "machine"}},
                "options": {"rounds": row["rounds"], "timer": timer},
                "stats": {**stats.as_dict(), "data": row["seconds"], "iterations": 1},
            }
        )
    machine = rows[0]["machine"] if rows else {}
    return json_text(
        {
            "machine_info": {
                "machine": platform.machine(),
                "processor": machine.get("processor"),
                "python_version": machine.get("python"),
                "system": platform.system(),
                "cpu": {"brand_raw": machine.get("processor"), "count": machine.get("cores")},
                "memdet": machine,
            },
            "commit_info": get_commit_info(),
            "benchmarks": benchmarks,
            "datetime": machine.get("started"),
            "version": pytest_benchmark.__version__,
        },
        indent=1,
    )
