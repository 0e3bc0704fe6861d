"""What closed forms know beyond their score: the Hessian of the log density, without a d x d matrix."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from memdet.models.base import ScoreModel
from memdet.models.condition import Condition


class ClosedForm(ScoreModel):
    """A score model whose curvature is known exactly; ``isinstance(model, ClosedForm)`` says whether truth can be had.

    In all methods ``x`` is ``[batch, *latent_shape]``, ``t`` a timestep, and an condition has a row an item or one row
    for all; results are float64, in units of the Hessian of the log density (one over the square of ``x``).
    """

    @abstractmethod
    def exact_hessian_product(self, x: Tensor, t: int, condition: Condition, v: Tensor) -> Tensor:
        """``J v`` with J the Jacobian of the score at ``x``, ``[batch, *latent_shape]``."""

    @abstractmethod
    def exact_spectrum(self, x: Tensor, t: int, condition: Condition) -> Tensor:
        """All eigenvalues of the symmetric part of the Jacobian, ascending, ``[batch, d]``."""

    @abstractmethod
    def exact_difference_spectrum(self, x: Tensor, t: int, condition: Condition, other: Condition) -> Tensor:
        """All eigenvalues of the symmetric part of ``J(condition) - J(other)``, ascending, ``[batch, d]``."""

    def exact_trace(self, x: Tensor, t: int, condition: Condition) -> Tensor:
        """Trace of the Jacobian, ``[batch]``: the sum of the spectrum."""
        return self.exact_spectrum(x, t, condition).sum(dim=1)

    def exact_difference_frobenius(self, x: Tensor, t: int, condition: Condition, other: Condition) -> Tensor:
        """Frobenius norm of the symmetric part of ``J(condition) - J(other)``, ``[batch]``."""
        norm: Tensor = self.exact_difference_spectrum(x, t, condition, other).norm(dim=1)
        return norm
