"""What a scan found: prompts ranked by score, against reference prompts. It calls no prompt anything but high or low."""

from memdet.reports.scan.page import to_html
from memdet.reports.scan.render import FORMATS
from memdet.reports.scan.result import scan_result, to_look_at

__all__ = ["FORMATS", "scan_result", "to_html", "to_look_at"]
