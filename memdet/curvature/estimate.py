"""What every estimator returns."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Estimate:
    """A number an item, how sure it is, and what it took.

    Attributes:
        value: ``[batch]``, or ``[batch, ...]`` where it is more than one number; float64.
        standard_error: Of the mean over random probes, the shape of ``value``; NaN with a single probe.
        products: Jacobian products an item.
    """

    value: Tensor
    standard_error: Tensor
    products: int

    @classmethod
    def of_samples(cls, samples: Tensor, products: int) -> Estimate:
        """Mean and standard error over the first dimension of ``[probes, batch, ...]``."""
        count = len(samples)
        deviation = samples.std(dim=0) if count > 1 else torch.full_like(samples[0], torch.nan)
        return cls(samples.mean(dim=0), deviation / count**0.5, products)
