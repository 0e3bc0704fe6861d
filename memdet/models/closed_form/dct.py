"""Gaussians whose covariance is diagonal in the cosine basis: a full spectrum at any dimension."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from functools import cache

import torch
from torch import Tensor

from memdet.errors import UserError
from memdet.models.closed_form.base import ClosedForm
from memdet.models.condition import Condition
from memdet.models.prediction_type import PredictionType, output_from_eps
from memdet.models.schedule import NoiseSchedule


class DCTGaussian(ClosedForm):
    """``N(mu, C diag(l) C^T)`` with C the orthonormal cosine basis, a mean and a spectrum for each condition.

    The Hessian of the log density is ``-C diag(1 / (alpha^2 l + sigma^2)) C^T`` everywhere, so every eigenvalue is
    known, none of them need be repeated, and no direction of the latent is special; the arithmetic is float64.

    Args:
        name: Shown in tables.
        mean: Of the null branch, ``[*latent_shape]``.
        spectrum: Variances ``l`` of the null branch, ``[d]``, none negative.
        conditions: Mean and spectrum under each condition.
        schedule: Noise of every timestep.
        prediction_type: What :meth:`predict` returns; the score is the same for each.
        device: Of the parameters.
        dtype: Of the inputs and outputs.

    Raises:
        ValueError: A mean or a spectrum of another size, or a negative variance.
    """

    def __init__(
        self,
        name: str,
        mean: Tensor,
        spectrum: Tensor,
        conditions: Mapping[str, tuple[Tensor, Tensor]],
        schedule: NoiseSchedule,
        prediction_type: PredictionType = "eps",
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.name = name
        self.schedule = schedule
        self.prediction_type = prediction_type
        self.device = torch.device(device)
        self.dtype = dtype
        self.latent_shape = tuple(mean.shape)
        parts = [(mean, spectrum), *conditions.values()]
        if any(m.numel() != mean.numel() or v.shape != (mean.numel(),) or (v < 0).any() for m, v in parts):
            raise ValueError(f"every mean holds {mean.numel()} numbers, every spectrum as many, none of them negative")
        self._means = torch.stack([m.flatten() for m, _ in parts]).to(self.device, torch.float64)
        self._variances = torch.stack([variances for _, variances in parts]).to(self.device, torch.float64)
        self._rows = {condition: row for row, condition in enumerate(conditions, start=1)}

    def embed(self, conditions: Sequence[str]) -> Condition:
        """Number of each condition, ``[batch, 1]``."""
        unknown = [condition for condition in conditions if condition not in self._rows]
        if unknown:
            raise UserError(f"{self.name} has no condition {unknown[0]!r}; it knows: {', '.join(self._rows)}")
        return Condition.of(torch.tensor([[self._rows[condition]] for condition in conditions], device=self.device))

    def embed_null(self) -> Condition:
        """Number of the null branch, ``[1, 1]``."""
        return Condition.of(torch.zeros(1, 1, dtype=torch.int64, device=self.device))

    def predict(self, x: Tensor, t: int, condition: Condition) -> Tensor:
        """What a perfect network of this prediction type would return."""
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        centred = x.double().flatten(1) - alpha * self._means[condition.tensor[:, 0]]
        eps = -sigma * self._times_hessian(centred, t, condition).view_as(x)
        return output_from_eps(eps, x.double(), alpha, sigma, self.prediction_type).to(x.dtype)

    def exact_hessian_product(self, x: Tensor, t: int, condition: Condition, v: Tensor) -> Tensor:
        """``H v``, ``[batch, *latent_shape]`` in float64; it does not depend on where ``x`` is."""
        return self._times_hessian(v.double().flatten(1), t, condition).view_as(x)

    def exact_spectrum(self, x: Tensor, t: int, condition: Condition) -> Tensor:
        """All eigenvalues of the Hessian, ascending, ``[batch, d]`` in float64."""
        return self._eigenvalues(t, condition).expand(len(x), -1).sort(dim=1).values

    def exact_difference_spectrum(self, x: Tensor, t: int, condition: Condition, other: Condition) -> Tensor:
        """All eigenvalues of ``H(condition) - H(other)``, ascending, ``[batch, d]`` in float64."""
        difference = self._eigenvalues(t, condition) - self._eigenvalues(t, other)
        return difference.expand(len(x), -1).sort(dim=1).values

    def fingerprint(self) -> str:
        """SHA-256 of the means, the spectra and the schedule."""
        digest = hashlib.sha256(repr((self.prediction_type, self.latent_shape, list(self._rows))).encode())
        for tensor in (self._means, self._variances):
            digest.update(tensor.cpu().numpy().tobytes())
        digest.update(self.schedule.alphas.tobytes() + self.schedule.sigmas.tobytes())
        return digest.hexdigest()

    def _eigenvalues(self, t: int, condition: Condition) -> Tensor:
        """In the order of the basis, ``[batch, d]``."""
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        return -1 / (alpha**2 * self._variances[condition.tensor[:, 0]] + sigma**2)

    def _times_hessian(self, flat: Tensor, t: int, condition: Condition) -> Tensor:
        return inverse_dct(self._eigenvalues(t, condition) * dct(flat))


def dct(x: Tensor) -> Tensor:
    """Orthonormal cosine transform (DCT-II) of ``[..., n]``, by a real FFT (Makhoul 1980); differentiable both ways."""
    n = x.shape[-1]
    twiddle, scale, _ = _constants(n, x.dtype, x.device)
    reordered = torch.cat([x[..., ::2], x[..., 1::2].flip(-1)], dim=-1)
    half: Tensor = torch.fft.rfft(reordered) * twiddle
    return torch.cat([half.real, -half.imag[..., 1 : (n + 1) // 2].flip(-1)], dim=-1) * scale


def inverse_dct(y: Tensor) -> Tensor:
    """Inverse, and transpose, of :func:`dct`."""
    n = y.shape[-1]
    twiddle, scale, order = _constants(n, y.dtype, y.device)
    z = y / scale
    mirrored = torch.cat([torch.zeros_like(z[..., :1]), z[..., n - n // 2 :].flip(-1)], dim=-1)
    reordered: Tensor = torch.fft.irfft(torch.complex(z[..., : n // 2 + 1], -mirrored) / twiddle, n=n)
    return reordered[..., order]


@cache
def _constants(n: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Twiddle factors of the first half, lengths that make the basis orthonormal, and the order of samples."""
    angle = -math.pi / (2 * n) * torch.arange(n // 2 + 1, dtype=dtype, device=device)
    scale = torch.full((n,), math.sqrt(2 / n), dtype=dtype, device=device)
    scale[0] = math.sqrt(1 / n)  # that one is constant
    half = (n + 1) // 2
    order = torch.empty(n, dtype=torch.int64, device=device)
    order[::2] = torch.arange(half, device=device)
    order[1::2] = torch.arange(n - 1, half - 1, -1, device=device)
    return torch.complex(angle.cos(), angle.sin()), scale, order
