"""What a scan found: prompts ranked by score, and compared with reference prompts."""

from memdet.reports.scan.page import to_html
from memdet.reports.scan.render import FORMATS
from memdet.reports.scan.result import scan_result, to_look_at

__all__ = ["FORMATS", "scan_result", "to_html", "to_look_at"]
