"""Score models: closed forms and pipelines, seen as ``score(x_t, t, condition)``."""

from memdet.models.base import ScoreModel
from memdet.models.closed_form.base import ClosedForm
from memdet.models.closed_form.dct import DCTGaussian
from memdet.models.closed_form.mixture import GaussianMixture
from memdet.models.closed_form.skewed import Skewed
from memdet.models.load import load_model, model_names, zoo_directory
from memdet.models.prediction_type import PARAMETRISATIONS, Parametrisation
from memdet.models.schedule import NoiseSchedule

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
