"""Jacobian products and what is estimated from them. Knows nothing of detectors, models or diffusers."""

from memdet.curvature.krylov import ritz
from memdet.curvature.products import BACKENDS, Backend, JacobianOperator

__all__ = ["BACKENDS", "Backend", "JacobianOperator", "ritz"]
