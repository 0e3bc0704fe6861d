"""Metrics: pure NumPy functions, one frozen version."""

from memdet.metrics._auroc import auroc, realised_fpr, tpr_at_fpr
from memdet.metrics._bootstrap import Evaluation, Interval, evaluate_scores, gain, mean_interval
from memdet.metrics._operating import Comparison, compare_detectors
from memdet.metrics._pairs import delong, holm, paired_permutation, permutation_above_half

METRICS_VERSION = "1"

__all__ = [
    "METRICS_VERSION",
    "Comparison",
    "Evaluation",
    "Interval",
    "auroc",
    "compare_detectors",
    "delong",
    "evaluate_scores",
    "gain",
    "holm",
    "mean_interval",
    "paired_permutation",
    "permutation_above_half",
    "realised_fpr",
    "tpr_at_fpr",
]
