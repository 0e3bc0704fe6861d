"""Tables made from runs."""

from collections.abc import Callable

from memdet.tables.formats.latex import to_latex
from memdet.tables.formats.model_index import to_model_index
from memdet.tables.rows import FIELDS, report_rows
from memdet.tables.run_table import Rows, to_csv, to_json, to_markdown, to_table

FORMATS: dict[str, Callable[[Rows], str]] = {
    "table": to_table,
    "json": to_json,
    "csv": to_csv,
    "markdown": to_markdown,
    "latex": to_latex,
    "model-index": to_model_index,
}

__all__ = ["FIELDS", "FORMATS", "report_rows"]
