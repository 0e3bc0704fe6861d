"""Tables made from runs, and how tables are drawn.

The public names load what they need when they are first used: who draws a table of something else loads no metrics.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memdet.tables.result_table import ResultTable, comparison_of, table_of
    from memdet.tables.rows import FIELDS, report_rows, rows_of
    from memdet.tables.run_table import FORMATS

_HOMES = {
    "FIELDS": "memdet.tables.rows",
    "FORMATS": "memdet.tables.run_table",
    "ResultTable": "memdet.tables.result_table",
    "comparison_of": "memdet.tables.result_table",
    "report_rows": "memdet.tables.rows",
    "rows_of": "memdet.tables.rows",
    "table_of": "memdet.tables.result_table",
}

__all__ = ["FIELDS", "FORMATS", "ResultTable", "comparison_of", "report_rows", "rows_of", "table_of"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'memdet.tables' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
