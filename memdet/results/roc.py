"""The ROC curve of a detector on a sample set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memdet.errors import UserError
from memdet.metrics import Interval, auroc_interval, roc_curve

if TYPE_CHECKING:
    from memdet.results.scores import MeanScores

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RocCurve:
    """How the true positive rate grows with the false positive rate.

    Attributes:
        detector, sample_set: Whose.
        fpr, tpr: ``[points]`` in [0, 1], from (0, 0) to (1, 1).
        thresholds: ``[points]``: an item is flagged where its score reaches it; the first is above all scores.
        auroc: Area under the curve with its 95 % interval.
    """

    detector: str
    sample_set: str
    fpr: Floats
    tpr: Floats
    thresholds: Floats
    auroc: Interval

    @classmethod
    def of(cls, detector: str, sample_set: str, means: MeanScores) -> RocCurve:
        """From scores averaged over seeds."""
        scores = means.scores[detector]
        fpr, tpr, thresholds = roc_curve(scores, means.labels)
        (by_seed,) = means.draws([detector])
        area = auroc_interval(scores, means.labels, means.clusters, by_seed=by_seed)
        return cls(detector, sample_set, fpr, tpr, thresholds, area)

    def at(self, fpr: ArrayLike) -> Floats:
        """Largest true positive rate whose false positive rate is at most ``fpr``, the shape of ``fpr``.

        The curve is a staircase: nothing is interpolated.

        Raises:
            UserError: A rate is no number between 0 and 1.
        """
        try:
            rates = np.asarray(fpr, dtype=np.float64)
        except (TypeError, ValueError):
            raise UserError(f"`fpr` is {fpr!r}: give numbers between 0 and 1") from None
        if not ((rates >= 0) & (rates <= 1)).all():
            wrong = rates[~((rates >= 0) & (rates <= 1))].flat[0]
            raise UserError(f"`fpr` is {wrong:g}: a false positive rate is a number between 0 and 1")
        return self.tpr[np.searchsorted(self.fpr, rates + 1e-12, side="right") - 1]

    def plot(self, ax: Any = None) -> Any:
        """Draw the curve.

        Args:
            ax: Axes of matplotlib; new ones if not given.

        Returns:
            The axes.

        Raises:
            UserError: matplotlib is not installed.
        """
        try:
            from matplotlib import pyplot
        except ImportError:
            raise UserError("a plot needs matplotlib, which is not installed: pip install 'memdet[figures]'") from None
        if ax is None:
            _, ax = pyplot.subplots()
        text = f"{self.detector} ({self.auroc.value:.3f} [{self.auroc.low:.3f}, {self.auroc.high:.3f}])"
        ax.plot(self.fpr, self.tpr, label=text, drawstyle="steps-post")
        ax.plot([0, 1], [0, 1], color="0.7", linewidth=0.8, linestyle="--")
        ax.set(xlabel="false positive rate", ylabel="true positive rate", title=self.sample_set)
        ax.set(xlim=(0, 1), ylim=(0, 1.02))
        ax.legend(loc="lower right", title="AUROC [95 %]")
        return ax

    def __repr__(self) -> str:
        """Detector, sample set and area."""
        area = self.auroc
        return (
            f"RocCurve({self.detector} on {self.sample_set}: AUROC {area.value:.3f} [{area.low:.3f}, {area.high:.3f}], "
            f"{len(self.fpr)} points)"
        )
