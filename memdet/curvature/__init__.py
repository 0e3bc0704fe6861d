"""Jacobian products and what is estimated from them. Knows nothing of detectors, models or diffusers."""

from memdet.curvature.calibration import Calibration, calibrate, fastest_operator, measured_step
from memdet.curvature.estimate import Estimate
from memdet.curvature.exact import eigenvalues, full_spectrum, jacobian_matrix
from memdet.curvature.krylov import Extreme, KrylovSpace, SpectralDensity, krylov, spectral_density
from memdet.curvature.products import BACKENDS, Backend, JacobianOperator, Known, default_step
from memdet.curvature.trace import diagonal, frobenius, hutch_plus_plus, hutchinson, xtrace

__all__ = [
    "BACKENDS",
    "Backend",
    "Calibration",
    "Estimate",
    "Extreme",
    "JacobianOperator",
    "Known",
    "KrylovSpace",
    "SpectralDensity",
    "calibrate",
    "default_step",
    "diagonal",
    "eigenvalues",
    "fastest_operator",
    "frobenius",
    "full_spectrum",
    "hutch_plus_plus",
    "hutchinson",
    "jacobian_matrix",
    "krylov",
    "measured_step",
    "spectral_density",
    "xtrace",
]
