"""Runner and result store."""

from memdet.running.runner import RunOptions, run
from memdet.running.store import SCORES, read_manifest, read_scores

__all__ = ["SCORES", "RunOptions", "read_manifest", "read_scores", "run"]
