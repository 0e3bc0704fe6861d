"""Runner: sample sets scored by detectors."""

from memdet.running.options import RunOptions
from memdet.running.runner import run

__all__ = ["RunOptions", "run"]
