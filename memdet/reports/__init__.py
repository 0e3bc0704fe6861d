"""Tables made from runs."""

from memdet.reports.render import FORMATS
from memdet.reports.rows import FIELDS, report_rows

__all__ = ["FIELDS", "FORMATS", "report_rows"]
