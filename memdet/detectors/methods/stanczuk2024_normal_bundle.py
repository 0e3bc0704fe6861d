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
    the data manifold. The scores at many noisy copies therefore span the directions normal to it. d minus the number of
    these directions is the local intrinsic dimension, which is low where an image is memorized. A direction counts as
    normal if its singular value is larger than ``threshold sqrt(K) / sigma``. (For random copies, the singular value of
    a normal direction is about ``sqrt(K) / sigma``, and at least ``1 - sqrt(d / K)`` times this, apart from chance.)
    The eps_k are the same for all items of a seed.

    Papers: Stanczuk, Batzolis, Deveney, Schönlieb, "Diffusion Models Encode the Intrinsic Dimension of Data Manifolds",
    ICML 2024, arXiv 2212.12611, for the estimator; Ross et al. 2025 for memorization.

    Attributes:
        scores: K, the number of scores; at most 4 d are used. The default is 2 d for 256 dimensions. With fewer, normal
            and tangent directions are harder to tell apart.
        t: Timestep, any of the schedule.
        branch: The branch whose score is used.
        rank: ``threshold``: as above. ``gap``, the paper's: the rank is where the gap between ordered singular values
            is largest.
        threshold: Share of ``sqrt(K) / sigma``; .3 is the bound above for K = 2 d, rounded.
        draw: Number of the set of noises. Another number gives other noise for the same seed.
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
            "The paper takes the largest gap between singular values for the rank, with K = 4 d. On a network, the "
            "largest gap can be the one after the mean score; the rank is then 1, as it was for every item that was "
            "tried on tiny-sd-a. For an isolated point, all directions are normal and the largest gap can be anywhere. "
            "The default here counts singular values above a bound."
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
