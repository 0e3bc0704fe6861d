"""Runner: sample sets scored by detectors."""

from memdet.results.store import SCORES, read_manifest, read_scores
from memdet.running.runner import RunOptions, run

__all__ = ["SCORES", "RunOptions", "read_manifest", "read_scores", "run"]
