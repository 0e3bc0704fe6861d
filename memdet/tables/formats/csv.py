"""Rows as comma-separated values."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def to_csv(rows: Iterable[Mapping[str, Any]], fields: Sequence[str]) -> str:
    """Numbers in full precision; what is None is empty.

    Args:
        rows: Each has all fields; what else it has is left out.
        fields: The columns.
    """
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(fields)
    writer.writerows([row[field] for field in fields] for row in rows)
    return output.getvalue().rstrip("\n")
