"""Turns a results file into the tables of the documentation.

python -m benchmarks.curvature.report results/benchmarks/curvature-cpu.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def rows_of(path: Path) -> list[Row]:
    """Every benchmark's own figures with its median time."""
    benchmarks = json.loads(path.read_text())["benchmarks"]
    return [{**b["extra_info"], "seconds": b["stats"]["median"]} for b in benchmarks if "table" in b["extra_info"]]


def markdown(head: Iterable[str], body: Iterable[Iterable[str]]) -> str:
    """A table, the first column to the left and the others to the right."""
    head = list(head)
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *body))


def extreme(rows: list[Row]) -> str:
    """Smallest eigenvalue: a row a method, error and time at each skew."""
    skews = sorted({row["skew"] for row in rows})
    found = {(row["method"], row["skew"]): row for row in rows}
    body = []
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [found[method, skew] for skew in skews]
        products = f"{own[-1]['products']:.0f}"
        if own[-1]["transposed_products"]:
            products += f" + {own[-1]['transposed_products']:.0f} of J^T"
        figures = [f"{row['largest_error']:.0e}, {row['seconds']:.2f} s" for row in own]
        body.append([method, products, *figures])
    return markdown(["method", "products", *(f"skew {100 * skew:.0f} %" for skew in skews)], body)


def fastest(rows: list[Row]) -> str:
    """At the largest skew: the fastest peer with an error below 1e-2, by what it was given."""
    skew = max(row["skew"] for row in rows)
    right = [row for row in rows if row["skew"] == skew and row["largest_error"] < 1e-2]
    ours = next(row["seconds"] for row in right if row["method"].startswith("memdet"))
    peers = [row for row in right if not row["method"].startswith("memdet")]
    alone = [row for row in peers if not row["transposed_products"]]
    kinds = {
        "J only, as the library is meant to be used": [row for row in alone if "items as columns" not in row["method"]],
        "J only, batched by hand": [row for row in alone if "items as columns" in row["method"]],
        "J and J^T": [row for row in peers if row["transposed_products"]],
    }
    body = []
    for label, contestants in kinds.items():
        if contestants:
            best = min(contestants, key=lambda row: row["seconds"])
            body.append([label, best["method"], f"{best['seconds'] / ours:.1f}"])
    return markdown(
        ["given", f"fastest other method that is right, skew {100 * skew:.0f} %", "its time / memdet's time"], body
    )


def trace(rows: list[Row]) -> str:
    """Trace: a row a method, relative error by number of products."""
    body = []
    for method in dict.fromkeys(row["method"] for row in rows):
        figures = [f"{row['products']}: {_error(row['error'])}" for row in rows if row["method"] == method]
        body.append([method, ", ".join(figures)])
    return markdown(["method", "products: relative error"], body)


def products(rows: list[Row]) -> str:
    """Time and error of a product."""
    body = []
    for row in rows:
        product, setup = f"{1e3 * row['seconds']:.1f}", f"{1e3 * row['setup_seconds']:.0f}"
        body.append([row["method"], product, setup, _error(row["largest_error"])])
    return markdown(["product", "ms", "ms to set up", "largest relative error"], body)


def ratios(rows: list[Row]) -> str:
    """What is asked of `auto` and of Krylov."""
    body = []
    for row in rows:
        ours, bare = f"auto ({row['chosen']})", f"the fastest within tolerance ({row.get('fastest')})"
        if row["table"] == "overhead":
            ours, bare = f"{row['steps']} Krylov steps by {row['backend']} ({row['chosen']})", "bare network products"
        body.append([f"{ours} over {bare}", f"{row['ratio']:.2f}"])
    return markdown(["time of", "ratio"], body)


def _error(value: float) -> str:
    return f"{value:.0e}" if value > 1e-15 else "< 1e-15"


def main() -> None:
    """Print the tables of the file named on the command line."""
    rows = rows_of(Path(sys.argv[1]))
    parts = {"extreme": extreme, "trace": trace, "products": products}
    for name, render in parts.items():
        own = [row for row in rows if row["table"] == name]
        if own:
            print(render(own), end="\n\n")
            if name == "extreme":
                print(fastest(own), end="\n\n")
    rest = [row for row in rows if row["table"] in ("auto", "overhead")]
    if rest:
        print(ratios(rest))


if __name__ == "__main__":
    main()
