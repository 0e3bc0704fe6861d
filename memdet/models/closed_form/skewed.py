"""A closed form whose Jacobian is not symmetric, as that of a trained network is not."""

from __future__ import annotations

import torch
from torch import Tensor

from memdet.models.closed_form.base import ClosedForm
from memdet.models.condition import Condition
from memdet.models.prediction_type import output_from_eps
from memdet.models.wrapped import WrappedModel


class Skewed(WrappedModel, ClosedForm):
    """Adds ``amount / sigma^2 K x`` to the score of a closed form, with K skew-symmetric.

    K swaps the halves of a flat latent and changes the sign of one, ``K (a, b) = (-b, a)``: orthogonal, ``K^T = -K``,
    no eigenvalue real. The symmetric part of the Jacobian stays that of the wrapped model, so ``exact_spectrum``,
    ``exact_trace`` and the differences are the wrapped model's, while ``exact_hessian_product`` is the Jacobian's own
    product; ``model.wrapped.exact_hessian_product`` gives that of the symmetric part. The term is the same on every
    branch and leaves the difference of two branches as it is.

    Args:
        wrapped: The closed form.
        amount: Size of the skew part relative to ``1 / sigma^2``, which bounds the Hessian's negative eigenvalues.

    Raises:
        ValueError: The dimension is odd.
    """

    def __init__(self, wrapped: ClosedForm, amount: float) -> None:
        super().__init__(wrapped)
        self.wrapped, self.amount = wrapped, amount
        self.name = f"{wrapped.name}-skewed"
        if torch.Size(self.latent_shape).numel() % 2:
            raise ValueError(f"the halves of a latent of shape {self.latent_shape} cannot be swapped")

    def predict(self, x: Tensor, t: int, condition: Condition) -> Tensor:
        """What a network with this score would return, in the wrapped model's prediction type."""
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        eps = self.wrapped.eps(x.double(), t, condition) - self.amount / sigma * _turn(x.double())
        return output_from_eps(eps, x.double(), alpha, sigma, self.prediction_type).to(x.dtype)

    def exact_hessian_product(self, x: Tensor, t: int, condition: Condition, v: Tensor) -> Tensor:
        """``J v = H v + amount / sigma^2 K v``, ``[batch, *latent_shape]`` in float64."""
        skew = self.amount / self.schedule.sigma(t) ** 2 * _turn(v.double())
        return self.wrapped.exact_hessian_product(x, t, condition, v) + skew

    def exact_spectrum(self, x: Tensor, t: int, condition: Condition) -> Tensor:
        """Eigenvalues of the symmetric part, ascending, ``[batch, d]``: those of the wrapped model."""
        return self.wrapped.exact_spectrum(x, t, condition)

    def exact_difference_spectrum(self, x: Tensor, t: int, condition: Condition, other: Condition) -> Tensor:
        """As the wrapped model, ``[batch, d]``: the skew term is the same on both branches."""
        return self.wrapped.exact_difference_spectrum(x, t, condition, other)

    def fingerprint(self) -> str:
        """That of the wrapped model, with the amount."""
        return f"{self.wrapped.fingerprint()}-skewed-{self.amount!r}"


def _turn(x: Tensor) -> Tensor:
    """``K x`` for each item of ``[batch, ...]``."""
    first, second = x.flatten(1).chunk(2, dim=1)
    return torch.cat([-second, first], dim=1).view(x.shape)
