"""What a scan found: prompts ranked by score, and compared with reference prompts."""

from memdet.scan.page import to_html
from memdet.scan.result import scan_result, to_look_at, undrawn
from memdet.scan.text import FORMATS

__all__ = ["FORMATS", "scan_result", "to_html", "to_look_at", "undrawn"]
