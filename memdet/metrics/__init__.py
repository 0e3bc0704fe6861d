"""Metrics: pure NumPy functions, one frozen version."""

from memdet.metrics._auroc import auroc, realised_fpr, tpr_at_fpr
from memdet.metrics._bootstrap import Evaluation, Interval, evaluate_scores, evaluate_table, gain, mean_interval
from memdet.metrics._conformal import Threshold, at_least_as_high, conformal_threshold, one_of_each
from memdet.metrics._operating import Comparison, compare_detectors
from memdet.metrics._pairs import (
    PairedTests,
    delong,
    holm,
    paired_permutation,
    paired_tests,
    permutation_above_half,
    tie_groups,
)
from memdet.metrics._placements import effective_number
from memdet.metrics._variance import VarianceSplit, variance_split

METRICS_VERSION = "2"

__all__ = [
    "METRICS_VERSION",
    "Comparison",
    "Evaluation",
    "Interval",
    "PairedTests",
    "Threshold",
    "at_least_as_high",
    "VarianceSplit",
    "auroc",
    "conformal_threshold",
    "compare_detectors",
    "delong",
    "effective_number",
    "evaluate_scores",
    "evaluate_table",
    "gain",
    "holm",
    "mean_interval",
    "one_of_each",
    "paired_permutation",
    "paired_tests",
    "permutation_above_half",
    "realised_fpr",
    "tie_groups",
    "tpr_at_fpr",
    "variance_split",
]
