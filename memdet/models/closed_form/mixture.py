"""Gaussian mixtures whose score, Hessian product and whole spectrum are known in closed form."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from memdet.errors import UserError
from memdet.models.closed_form.base import ClosedForm
from memdet.models.condition import Condition
from memdet.models.prediction_type import PredictionType, output_from_x0
from memdet.models.schedule import NoiseSchedule


class GaussianMixture(ClosedForm):
    """Mixture of isotropic Gaussians under a noise schedule; a condition is a choice of component weights.

    With ``m_k = alpha^2 tau_k^2 + sigma^2``, responsibilities ``g_k`` and component scores
    ``s_k = (alpha mu_k - x) / m_k`` the score is ``s = sum_k g_k s_k`` and the Hessian of the log density is
    ``H = sum_k g_k (s_k s_k^T - I / m_k) - s s^T``: a multiple of the identity plus rank K - 1. Nothing of size d x d
    is formed; the arithmetic is float64 whatever the input.

    Args:
        name: Shown in tables.
        means: ``[K, d]``.
        stds: ``[K]``, tau; 0 for a point mass.
        weights: ``[K]``, of the null branch, at least one of them positive.
        conditions: Component weights ``[K]`` under each condition, at least one of them positive.
        schedule: Noise of every timestep.
        prediction_type: What :meth:`predict` returns; the score is the same for each.
        latent_shape: Shape of one sample, ``(d,)`` if not given.
        device: Of the parameters.
        dtype: Of the inputs and outputs.
    """

    def __init__(  # a mixture is all of this, said once
        self,
        name: str,
        means: Tensor,
        stds: Sequence[float],
        weights: Sequence[float],
        conditions: Mapping[str, Sequence[float]],
        schedule: NoiseSchedule,
        prediction_type: PredictionType = "eps",
        latent_shape: tuple[int, ...] | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.name = name
        self.schedule = schedule
        self.prediction_type = prediction_type
        self.device = torch.device(device)
        self.dtype = dtype
        self.latent_shape = latent_shape or (means.shape[1],)
        if math.prod(self.latent_shape) != means.shape[1]:
            raise ValueError(f"latent_shape {self.latent_shape} does not hold {means.shape[1]} numbers")
        self._means = means.to(self.device, torch.float64)
        self._gram = self._means @ self._means.T
        self._variances = torch.tensor(stds, dtype=torch.float64, device=self.device).square()
        self._null = torch.tensor(weights, dtype=torch.float64, device=self.device)
        self._conditions = {
            key: torch.tensor(value, dtype=torch.float64, device=self.device) for key, value in conditions.items()
        }

    @classmethod
    def empirical(
        cls,
        name: str,
        points: Tensor,
        conditions: Mapping[str, Sequence[int]],
        schedule: NoiseSchedule,
        copies: Sequence[float] | None = None,
        prediction_type: PredictionType = "eps",
    ) -> GaussianMixture:
        """The perfect model of a finite training set: point masses, and conditions that are subsets of them.

        Args:
            name: Shown in tables.
            points: ``[n, *latent_shape]``.
            conditions: Indices of the points of each condition.
            schedule: Noise of every timestep.
            copies: How often each point is in the training set; once if not given.
            prediction_type: What :meth:`predict` returns.

        Returns:
            A mixture whose denoiser is the weighted mean of the points (the softmax of De Bortoli, arXiv 2208.05314).
        """
        weights = [1.0] * len(points) if copies is None else list(copies)
        return cls(
            name,
            points.flatten(1),
            stds=[0.0] * len(points),
            weights=weights,
            conditions={
                key: [weight if index in set(chosen) else 0.0 for index, weight in enumerate(weights)]
                for key, chosen in conditions.items()
            },
            schedule=schedule,
            prediction_type=prediction_type,
            latent_shape=tuple(points.shape[1:]),
            device=points.device,
        )

    def embed(self, conditions: Sequence[str]) -> Condition:
        """Component weights of each condition, ``[batch, K]``."""
        unknown = [condition for condition in conditions if condition not in self._conditions]
        if unknown:
            raise UserError(f"{self.name} has no condition {unknown[0]!r}; it knows: {', '.join(self._conditions)}")
        return Condition.of(torch.stack([self._conditions[condition] for condition in conditions]))

    def embed_null(self) -> Condition:
        """Component weights of the whole mixture, ``[1, K]``."""
        return Condition.of(self._null[None])

    def predict(self, x: Tensor, t: int, condition: Condition) -> Tensor:
        """What a perfect network of this prediction type would return."""
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        if self.prediction_type == "eps":
            return (-sigma * self._exact_score(x, t, condition)).to(x.dtype)
        flat, used = x.double().flatten(1), self._used(condition)
        clean = self._posterior(flat, t, condition, used).clean(flat, self._variances[used], sigma).view_as(x)
        return output_from_x0(clean, x.double(), alpha, sigma, self.prediction_type).to(x.dtype)

    def exact_hessian_product(self, x: Tensor, t: int, condition: Condition, v: Tensor) -> Tensor:
        """``H v``, where H is the Hessian of the log density at ``x``.

        Args:
            x, v: ``[batch, *latent_shape]``.
            t: Timestep.
            condition: Weights, ``[batch, K]`` or ``[1, K]``.

        Returns:
            ``[batch, *latent_shape]`` in float64.
        """
        flat, direction = x.double().flatten(1), v.double().flatten(1)
        p = self._posterior(flat, t, condition, self._used(condition))
        score = p.score(flat)
        inner = (p.alpha * direction @ p.means.T - (flat * direction).sum(1, keepdim=True)) / p.m  # s_k . v
        weighted = p.g * inner / p.m
        product = p.alpha * weighted @ p.means - flat * weighted.sum(1, keepdim=True)
        product += direction * p.floor
        product -= score * (score * direction).sum(1, keepdim=True)
        return product.view_as(x)

    def exact_spectrum(self, x: Tensor, t: int, condition: Condition) -> Tensor:
        """All eigenvalues of the Hessian of the log density, ascending, ``[batch, d]`` in float64."""
        flat = x.double().flatten(1)
        p = self._posterior(flat, t, condition, self._used(condition))
        root = p.g.sqrt()
        raised = torch.linalg.eigvalsh(root[:, :, None] * p.score_gram(flat) * root[:, None, :])
        return _spectrum(p.floor, raised.clamp_min(0), flat.shape[1])

    def exact_difference_spectrum(self, x: Tensor, t: int, condition: Condition, other: Condition) -> Tensor:
        """All eigenvalues of ``H(condition) - H(other)``, ascending, ``[batch, d]`` in float64.

        With S the matrix of component scores, the difference is a multiple of the identity plus ``S C S^T`` with
        ``C = diag(g - g') - g g^T + g' g'^T``; the nonzero eigenvalues are those of ``G^{1/2} C G^{1/2}`` with
        ``G = S^T S``. As the rows of C sum to zero, S may be centred first, which removes what all scores share.
        """
        shift, gram, middle = self._difference(x, t, condition, other)
        values, vectors = torch.linalg.eigh(gram)
        values = torch.where(values > 1e-14 * values[:, -1:], values, 0.0)
        half = vectors * values.sqrt()[:, None, :]
        moved = torch.linalg.eigvalsh(half.transpose(1, 2) @ middle @ half)
        return _spectrum(shift, moved, x[0].numel())

    def exact_trace(self, x: Tensor, t: int, condition: Condition) -> Tensor:
        """Trace of the Hessian, ``[batch]`` in float64, without its eigenvalues."""
        flat = x.double().flatten(1)
        p = self._posterior(flat, t, condition, self._used(condition))
        spread = p.score_gram(flat).diagonal(dim1=1, dim2=2)
        return flat.shape[1] * p.floor.squeeze(1) + (p.g * spread).sum(1)

    def exact_difference_frobenius(self, x: Tensor, t: int, condition: Condition, other: Condition) -> Tensor:
        """Frobenius norm of ``H(condition) - H(other)``, ``[batch]`` in float64, without its eigenvalues."""
        shift, gram, middle = self._difference(x, t, condition, other)
        product = gram @ middle  # has the nonzero eigenvalues of S C S^T
        trace = product.diagonal(dim1=1, dim2=2).sum(1)
        square = (product * product.transpose(1, 2)).sum((1, 2))
        shift = shift.squeeze(1)
        return (x[0].numel() * shift.square() + 2 * shift * trace + square).clamp_min(0).sqrt()

    def fingerprint(self) -> str:
        """SHA-256 of the mixture's parameters and schedule."""
        digest = hashlib.sha256(repr((self.prediction_type, self.latent_shape, sorted(self._conditions))).encode())
        tensors = [
            self._means,
            self._variances,
            self._null,
            *(self._conditions[key] for key in sorted(self._conditions)),
        ]
        for tensor in tensors:
            digest.update(tensor.cpu().numpy().tobytes())
        digest.update(self.schedule.alphas.tobytes() + self.schedule.sigmas.tobytes())
        return digest.hexdigest()

    def _exact_score(self, x: Tensor, t: int, condition: Condition) -> Tensor:
        flat = x.double().flatten(1)
        return self._posterior(flat, t, condition, self._used(condition)).score(flat).view_as(x)

    def _difference(self, x: Tensor, t: int, condition: Condition, other: Condition) -> tuple[Tensor, Tensor, Tensor]:
        """Of two branches: difference of the floors ``[batch, 1]``, G and C, both ``[batch, K, K]``."""
        flat = x.double().flatten(1)
        used = self._used(condition, other)
        p, q = self._posterior(flat, t, condition, used), self._posterior(flat, t, other, used)
        middle = torch.diag_embed(p.g - q.g) - p.g[:, :, None] * p.g[:, None, :] + q.g[:, :, None] * q.g[:, None, :]
        return p.floor - q.floor, q.score_gram(flat), middle

    def _used(self, *conditions: Condition) -> Tensor | slice:
        """Index of the components that have weight; all of them where a copy of their means would not pay."""
        used = torch.cat([condition.tensor for condition in conditions]).any(dim=0)
        return slice(None) if 2 * int(used.sum()) > len(used) else used.nonzero().squeeze(1)

    def _posterior(self, flat: Tensor, t: int, condition: Condition, used: Tensor | slice) -> _Posterior:
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        means, gram = self._means[used], self._gram[used][:, used]
        m = alpha**2 * self._variances[used] + sigma**2
        distance = flat.square().sum(1, keepdim=True) - 2 * alpha * flat @ means.T + alpha**2 * gram.diagonal()
        logits = condition.tensor[:, used].log() - distance / (2 * m) - flat.shape[1] / 2 * m.log()
        return _Posterior(alpha, means, gram, m, torch.softmax(logits, dim=1))


@dataclass
class _Posterior:
    """Which components a noisy sample may come from.

    Attributes:
        alpha: Of the timestep.
        means, gram: Of the components, ``[K, d]`` and ``[K, K]``.
        m: Variance of each noisy component, ``[K]``.
        g: Responsibilities, ``[batch, K]``.
    """

    alpha: float
    means: Tensor
    gram: Tensor
    m: Tensor
    g: Tensor

    @property
    def floor(self) -> Tensor:
        """The multiple of the identity in the Hessian, ``[batch, 1]``."""
        return -(self.g / self.m).sum(1, keepdim=True)

    def score(self, flat: Tensor) -> Tensor:
        """Score at ``[batch, d]``."""
        pull = self.g / self.m
        return self.alpha * pull @ self.means - flat * pull.sum(1, keepdim=True)

    def clean(self, flat: Tensor, variances: Tensor, sigma: float) -> Tensor:
        """Mean of the clean sample, given the noisy one and the noise's sigma, ``[batch, d]``; finite at alpha = 0."""
        own = self.alpha * (self.g * variances / self.m).sum(1, keepdim=True) * flat
        mean: Tensor = own + sigma**2 * (self.g / self.m) @ self.means
        return mean

    def score_gram(self, flat: Tensor) -> Tensor:
        """Inner products of ``s_k - s``, the component scores less their mean, ``[batch, K, K]``."""
        cross = self.alpha * flat @ self.means.T
        square = flat.square().sum(1)[:, None, None]
        gram = self.alpha**2 * self.gram - cross[:, :, None] - cross[:, None, :] + square
        gram = gram / (self.m[:, None] * self.m[None, :])
        towards_mean = (gram @ self.g[:, :, None]).squeeze(2)  # s_k . s
        gram = gram - towards_mean[:, :, None] - towards_mean[:, None, :]
        return gram + (self.g * towards_mean).sum(1)[:, None, None]


def _spectrum(floor: Tensor, moved: Tensor, d: int) -> Tensor:
    """Eigenvalues of a multiple of the identity plus a matrix of low rank, ascending, ``[batch, d]``.

    Args:
        floor: The multiple, ``[batch, 1]``.
        moved: Eigenvalues of the matrix, ``[batch, K]``; where K > d, the smallest in size are zeros and left out.
        d: Dimension.
    """
    rank = min(moved.shape[1], d)
    kept = moved.gather(1, moved.abs().argsort(dim=1, descending=True)[:, :rank])
    spectrum = floor.expand(-1, d).clone()
    spectrum[:, :rank] += kept
    return spectrum.sort(dim=1).values
