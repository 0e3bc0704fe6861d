"""Score models: closed forms and pipelines, seen as ``score(x_t, t, condition)``."""

from memdet.models.base import ScoreModel
from memdet.models.load import load_model, model_names, zoo_directory
from memdet.models.mixture import GaussianMixture
from memdet.models.parametrisation import PARAMETRISATIONS, Parametrisation
from memdet.models.schedule import NoiseSchedule

__all__ = [
    "PARAMETRISATIONS",
    "GaussianMixture",
    "NoiseSchedule",
    "Parametrisation",
    "ScoreModel",
    "load_model",
    "model_names",
    "zoo_directory",
]
