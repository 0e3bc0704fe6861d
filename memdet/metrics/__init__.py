"""Metrics: pure NumPy functions, one frozen version."""

from memdet.metrics._auroc import auroc, realised_fpr, roc_curve, tpr_at_fpr
from memdet.metrics._bootstrap import (
    Evaluation,
    Interval,
    auroc_interval,
    evaluate_scores,
    evaluate_table,
    gain,
)
from memdet.metrics._conformal import Threshold, at_least_as_high, conformal_threshold, one_of_each
from memdet.metrics._copying import DataCopying, authenticity, data_copying, likelihood_gap, memorized_share
from memdet.metrics._distributions import average_ranks, student_sf
from memdet.metrics._fewer_draws import FewerDraws, auroc_of_draws
from memdet.metrics._means import mean_interval
from memdet.metrics._operating import RateEvaluation, evaluate_rates
from memdet.metrics._over_sets import Means, Ranks, SetAreas, SetScores, bootstrap_sets, ranks_of, tau_between
from memdet.metrics._pairs import (
    PairedTests,
    delong,
    holm,
    paired_permutation,
    paired_tests,
    permutation_above_half,
)
from memdet.metrics._placements import effective_number
from memdet.metrics._power import smallest_auroc, smallest_difference
from memdet.metrics._proportion import share_interval
from memdet.metrics._psychometric import PsychometricCurve, psychometric_curve
from memdet.metrics._ties import Ties, area_ties, tie_groups
from memdet.metrics._variance import VarianceSplit, variance_split

METRICS_VERSION = "3"

__all__ = [
    "METRICS_VERSION",
    "DataCopying",
    "Evaluation",
    "FewerDraws",
    "Interval",
    "Means",
    "PairedTests",
    "PsychometricCurve",
    "Ranks",
    "RateEvaluation",
    "SetAreas",
    "SetScores",
    "Threshold",
    "Ties",
    "VarianceSplit",
    "area_ties",
    "at_least_as_high",
    "auroc",
    "average_ranks",
    "auroc_interval",
    "auroc_of_draws",
    "authenticity",
    "bootstrap_sets",
    "conformal_threshold",
    "data_copying",
    "delong",
    "effective_number",
    "evaluate_rates",
    "evaluate_scores",
    "evaluate_table",
    "gain",
    "holm",
    "likelihood_gap",
    "mean_interval",
    "memorized_share",
    "one_of_each",
    "paired_permutation",
    "paired_tests",
    "permutation_above_half",
    "psychometric_curve",
    "ranks_of",
    "realised_fpr",
    "roc_curve",
    "share_interval",
    "smallest_auroc",
    "smallest_difference",
    "student_sf",
    "tau_between",
    "tie_groups",
    "tpr_at_fpr",
    "variance_split",
]
