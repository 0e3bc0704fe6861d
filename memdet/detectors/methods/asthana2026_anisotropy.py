"""Norm and anisotropy of the score difference, both at pure noise (Asthana et al., ICLR 2026)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from memdet.detectors.base import Detector, DetectorInfo, Headline
from memdet.errors import NotApplicableError

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class NormAndAnisotropy(Detector):
    """``g1 norm(D(x_T, t_first)) + g2 mean_pixels cos(e_u, D)(x_T, t_third-last)`` with ``D = e_c - e_u``.

    Paper: Asthana et al., ICLR 2026, arXiv 2601.20642. Both terms are computed at the pure noise x_T. The second term
    tells the network a late timestep, although x_T is far noisier than samples of that time. The cosine is taken across
    channels at each pixel, and averaged over pixels. With a single channel it is +1 or -1 at each pixel. A pixel where
    D is zero counts as 0. A sample that is a plain vector counts as one pixel.

    Attributes:
        weights: ``published``: the paper's (1, 2), made for Stable Diffusion; but the norm grows with the number of
            dimensions, so they may not fit other models. ``dev``: g1 and g2 come from the dev split, by logistic
            regression (scikit-learn, C = 1) of the labels on the two standardised terms; a term that does not vary gets
            weight 0.
    """

    info = DetectorInfo(
        name="asthana2026",
        title="norm of the score difference plus its cosine to the null prediction, at pure noise",
        paper="asthana2026anisotropy",
        year=2026,
        version=2,
        access="score",
        cost="4 F (half of it with shared noise)",
        fidelity="faithful",
        headline=Headline(seeds=4, source="weights (1, 2), n = 4; no guidance is involved"),
    )
    weights: Literal["published", "dev"] = "published"

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        first, second = (1.0, 2.0) if self.weights == "published" else probe.calibrate(self.label, _fit)
        norm, cosine = _terms(probe)
        return first * norm + second * cosine


def _terms(probe: Probe) -> tuple[Tensor, Tensor]:
    from torch.nn.functional import cosine_similarity

    trajectory = probe.trajectory()
    x, timesteps = trajectory.state(0), trajectory.timesteps
    if len(timesteps) < 3:
        raise NotApplicableError(
            f"the protocol's trajectory has {len(timesteps)} steps, so none is the third from last"
        )
    norm = probe.difference(x, timesteps[0]).double().flatten(1).norm(dim=1)
    difference, null = probe.difference(x, timesteps[-3]), probe.eps(x, timesteps[-3], "null")
    cosine = cosine_similarity(null.double(), difference.double(), dim=1, eps=1e-12).reshape(len(x), -1).mean(dim=1)
    return norm, cosine


def _fit(dev: Probe) -> tuple[float, float]:
    """Weights of the two terms, for terms as they are."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    if len(set(dev.labels)) < 2:
        raise NotApplicableError("the dev split holds one label only, so no weights can be fitted")
    terms = np.stack([term.cpu().numpy() for term in _terms(dev)], axis=1)
    scaler = StandardScaler().fit(terms)
    fitted = LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000).fit(scaler.transform(terms), dev.labels)
    first, second = fitted.coef_[0] / scaler.scale_
    return float(first), float(second)
