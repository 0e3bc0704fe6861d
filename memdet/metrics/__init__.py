"""Metrics: pure NumPy functions, one frozen version."""

from memdet.metrics._auroc import auroc, realised_fpr, tpr_at_fpr
from memdet.metrics._bootstrap import Evaluation, Interval, evaluate_scores, gain, mean_interval
from memdet.metrics._conformal import Threshold, at_least_as_high, conformal_threshold, one_of_each
from memdet.metrics._pairs import delong, holm, paired_permutation, permutation_above_half

METRICS_VERSION = "1"

__all__ = [
    "METRICS_VERSION",
    "Evaluation",
    "Interval",
    "Threshold",
    "at_least_as_high",
    "auroc",
    "conformal_threshold",
    "delong",
    "evaluate_scores",
    "gain",
    "holm",
    "mean_interval",
    "one_of_each",
    "paired_permutation",
    "permutation_above_half",
    "realised_fpr",
    "tpr_at_fpr",
]
