"""Gaussian mixtures whose score, Hessian product and whole spectrum are known in closed form."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from memdet.errors import UserError
from memdet.models.base import ScoreModel
from memdet.models.parametrisation import Parametrisation, output_from_eps
from memdet.models.schedule import NoiseSchedule


class GaussianMixture(ScoreModel):
    """Mixture of isotropic Gaussians under a noise schedule; a condition is a choice of component weights.

    With ``m_k = alpha^2 tau_k^2 + sigma^2``, responsibilities ``g_k`` and component scores
    ``s_k = (alpha mu_k - x) / m_k`` the score is ``s = sum_k g_k s_k`` and the Hessian of the log density is
    ``H = sum_k g_k (s_k s_k^T - I / m_k) - s s^T``: a multiple of the identity plus rank K - 1. Nothing of size d x d
    is formed; the arithmetic is float64 whatever the input.

    Args:
        name: Shown in tables.
        means: ``[K, d]``.
        stds: ``[K]``, tau; 0 for a point mass.
        weights: ``[K]``, of the null branch; positive.
        conditions: Component weights ``[K]`` under each condition, at least one of them positive.
        schedule: Noise of every timestep.
        parametrisation: What :meth:`predict` returns; the score is the same for each.
        latent_shape: Shape of one sample, ``(d,)`` if not given.
        device: Of the parameters.
        dtype: Of the inputs and outputs.
    """

    def __init__(
        self,
        name: str,
        means: Tensor,
        stds: Sequence[float],
        weights: Sequence[float],
        conditions: Mapping[str, Sequence[float]],
        schedule: NoiseSchedule,
        parametrisation: Parametrisation = "eps",
        latent_shape: tuple[int, ...] | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.name = name
        self.schedule = schedule
        self.parametrisation = parametrisation
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

    def embed(self, conditions: Sequence[str]) -> Tensor:
        """Component weights of each condition, ``[batch, K]``."""
        unknown = [condition for condition in conditions if condition not in self._conditions]
        if unknown:
            raise UserError(f"{self.name} has no condition {unknown[0]!r}; it knows: {', '.join(self._conditions)}")
        return torch.stack([self._conditions[condition] for condition in conditions])

    def embed_null(self) -> Tensor:
        """Component weights of the whole mixture, ``[1, K]``."""
        return self._null[None]

    def predict(self, x: Tensor, t: int, embedding: Tensor) -> Tensor:
        """What a perfect network of this parametrisation would return."""
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        eps = -sigma * self._exact_score(x, t, embedding)
        return output_from_eps(eps, x.double(), alpha, sigma, self.parametrisation).to(x.dtype)

    def exact_hessian_product(self, x: Tensor, t: int, embedding: Tensor, v: Tensor) -> Tensor:
        """``H v``, where H is the Hessian of the log density at ``x``.

        Args:
            x, v: ``[batch, *latent_shape]``.
            t: Timestep.
            embedding: ``[batch, K]`` or ``[1, K]``.

        Returns:
            ``[batch, *latent_shape]`` in float64.
        """
        flat, direction = x.double().flatten(1), v.double().flatten(1)
        alpha = self.schedule.alpha(t)
        m, g = self._responsibilities(flat, t, embedding)
        score = self._score(flat, alpha, m, g)
        inner = (alpha * direction @ self._means.T - (flat * direction).sum(1, keepdim=True)) / m  # s_k . v
        weighted = g * inner / m
        product = alpha * weighted @ self._means - flat * weighted.sum(1, keepdim=True)
        product -= direction * (g / m).sum(1, keepdim=True)
        product -= score * (score * direction).sum(1, keepdim=True)
        return product.view_as(x)

    def exact_spectrum(self, x: Tensor, t: int, embedding: Tensor) -> Tensor:
        """All eigenvalues of the Hessian of the log density, ascending, ``[batch, d]`` in float64."""
        flat = x.double().flatten(1)
        alpha = self.schedule.alpha(t)
        m, g = self._responsibilities(flat, t, embedding)
        cross = alpha * flat @ self._means.T
        square = flat.square().sum(1)[:, None, None]
        gram = (alpha**2 * self._gram - cross[:, :, None] - cross[:, None, :] + square) / (m[:, None] * m[None, :])
        towards_mean = (gram @ g[:, :, None]).squeeze(2)  # s_k . s
        centred = gram - towards_mean[:, :, None] - towards_mean[:, None, :]
        centred = centred + (g * towards_mean).sum(1)[:, None, None]
        root = g.sqrt()
        raised = torch.linalg.eigvalsh(root[:, :, None] * centred * root[:, None, :])
        floor = -(g / m).sum(1, keepdim=True)
        rank, d = min(raised.shape[1], flat.shape[1]), flat.shape[1]
        spectrum = floor.expand(-1, d).clone()
        spectrum[:, d - rank :] += raised[:, raised.shape[1] - rank :].clamp_min(0)
        return spectrum.sort(dim=1).values

    def fingerprint(self) -> str:
        """SHA-256 of the mixture's parameters and schedule."""
        digest = hashlib.sha256(repr((self.parametrisation, self.latent_shape, sorted(self._conditions))).encode())
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

    def _exact_score(self, x: Tensor, t: int, embedding: Tensor) -> Tensor:
        flat = x.double().flatten(1)
        m, g = self._responsibilities(flat, t, embedding)
        return self._score(flat, self.schedule.alpha(t), m, g).view_as(x)

    def _responsibilities(self, flat: Tensor, t: int, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """Variance of each component ``[K]`` and posterior weight of each component ``[batch, K]``."""
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        m = alpha**2 * self._variances + sigma**2
        distance = (
            flat.square().sum(1, keepdim=True) - 2 * alpha * flat @ self._means.T + alpha**2 * self._gram.diagonal()
        )
        logits = embedding.log() - distance / (2 * m) - flat.shape[1] / 2 * m.log()
        return m, torch.softmax(logits, dim=1)

    def _score(self, flat: Tensor, alpha: float, m: Tensor, g: Tensor) -> Tensor:
        pull = g / m
        return alpha * pull @ self._means - flat * pull.sum(1, keepdim=True)
