"""Local intrinsic dimension by the normal bundle of the data (Stanczuk et al., ICML 2024)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from memdet.detectors.base import Detector, DetectorInfo
from memdet.errors import NotApplicableError

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class NormalBundle(Detector):
    """``-(d - rank)`` of the scores ``s(alpha x_0 + sigma eps_k, t)``, stacked as a K x d matrix.

    x_0 is the item's image, or the end of the protocol's guided trajectory. With little noise the score points back to
    the manifold, so scores at many noisy copies span the directions normal to it; d minus their number is the local
    intrinsic dimension, low where an image is memorized. A direction counts as normal if its singular value is larger
    than ``threshold sqrt(K) / sigma``: scores at random copies have ``sqrt(K) / sigma`` along a normal direction, and
    none of them less than ``1 - sqrt(d / K)`` of that, up to chance. The eps_k are the same for all items of a seed.

    Papers: Stanczuk, Batzolis, Deveney, Schönlieb, "Diffusion Models Encode the Intrinsic Dimension of Data Manifolds",
    ICML 2024, arXiv 2212.12611, for the estimator; Ross et al. 2025 for memorization.

    Attributes:
        scores: K, but no more than 4 d. The default is 2 d of 256 dimensions; fewer blur the gap.
        t: Timestep, any of the schedule.
        branch: Of the model.
        rank: ``threshold`` as above, or ``gap``, the paper's: where the gap between ordered singular values is largest.
        threshold: Share of ``sqrt(K) / sigma``; .3 is that bound for K = 2 d, rounded.
        draw: Which noise; another number takes other noise for the same seed.
    """

    info = DetectorInfo(
        name="normal-bundle",
        title="minus the local intrinsic dimension, by the rank of scores at noisy copies",
        paper="stanczuk2024diffusion",
        year=2024,
        access="score",
        cost="2 T F + scores F (no trajectory for images; no more than 4 d scores)",
        fidelity="derived",
        deviation=(
            "The paper takes the largest gap for the rank, and K = 4 d. On a network the largest gap can be that of "
            "the mean score, so that the rank is 1: it was for every item that was tried on tiny-sd-a. Of an isolated "
            "point, all of whose directions are normal, it may lie anywhere. The default counts values above a bound."
        ),
    )
    scores: PositiveInt = 512
    t: NonNegativeInt = 10
    branch: Literal["cond", "null"] = "cond"
    rank: Literal["threshold", "gap"] = "threshold"
    threshold: PositiveFloat = 0.3
    draw: NonNegativeInt = 0

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        import torch

        schedule, shape = probe.model.schedule, probe.model.latent_shape
        schedule.check(self.t)
        d = torch.Size(shape).numel()
        count = min(self.scores, 4 * d)
        if count < max(d, 2):
            raise NotApplicableError(f"the rank in {d:,} dimensions takes at least as many scores, not {count:,}")
        alpha, sigma = schedule.alpha(self.t), schedule.sigma(self.t)
        centre = alpha * probe.clean()
        rows = [
            probe.score(centre + sigma * noise, self.t, self.branch).double().flatten(1)
            for noise in probe.directions(count, "gaussian", draw=self.draw)
        ]
        scores = torch.stack(rows, dim=1)
        failed = ~scores.isfinite().all(dim=2).all(dim=1)  # a decomposition would fail for the whole batch
        values = torch.linalg.svdvals(scores.masked_fill(failed[:, None, None], 0.0))
        if self.rank == "threshold":
            rank = (values > self.threshold * count**0.5 / sigma).sum(dim=1)
        else:
            rank = (values[:, :-1] - values[:, 1:]).argmax(dim=1) + 1
        score: Tensor = (rank - d).double().masked_fill(failed, torch.nan)
        return score
