"""Score models: closed forms and pipelines, seen as ``score(x_t, t, condition)``."""

from memdet.models.base import ScoreModel
from memdet.models.exact import ClosedForm
from memdet.models.gaussian import DCTGaussian
from memdet.models.load import load_model, model_names, zoo_directory
from memdet.models.mixture import GaussianMixture
from memdet.models.parametrisation import PARAMETRISATIONS, Parametrisation
from memdet.models.schedule import NoiseSchedule
from memdet.models.skewed import Skewed

__all__ = [
    "PARAMETRISATIONS",
    "ClosedForm",
    "DCTGaussian",
    "GaussianMixture",
    "NoiseSchedule",
    "Parametrisation",
    "ScoreModel",
    "Skewed",
    "load_model",
    "model_names",
    "zoo_directory",
]
