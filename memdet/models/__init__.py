"""Score models: closed forms and pipelines, seen as ``score(x_t, t, condition)``.

The public names load what they need when they are first used; names of models need no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memdet.models.base import ScoreModel
    from memdet.models.closed_form.base import ClosedForm
    from memdet.models.closed_form.dct import DCTGaussian
    from memdet.models.closed_form.mixture import GaussianMixture
    from memdet.models.closed_form.skewed import Skewed
    from memdet.models.condition import Condition
    from memdet.models.load import load_model
    from memdet.models.load_options import LoadOptions
    from memdet.models.names import model_names, zoo_directory
    from memdet.models.prediction_type import PREDICTION_TYPES, PredictionType
    from memdet.models.prediction_type import PREDICTION_TYPES as PARAMETRISATIONS
    from memdet.models.prediction_type import PredictionType as Parametrisation
    from memdet.models.schedule import NoiseSchedule
    from memdet.models.wrapped import WrappedModel

_HOMES = {
    "ClosedForm": "closed_form.base",
    "Condition": "condition",
    "DCTGaussian": "closed_form.dct",
    "GaussianMixture": "closed_form.mixture",
    "LoadOptions": "load_options",
    "NoiseSchedule": "schedule",
    "PREDICTION_TYPES": "prediction_type",
    "PredictionType": "prediction_type",
    "ScoreModel": "base",
    "Skewed": "closed_form.skewed",
    "WrappedModel": "wrapped",
    "load_model": "load",
    "model_names": "names",
    "zoo_directory": "names",
}
_OLD = {"PARAMETRISATIONS": "PREDICTION_TYPES", "Parametrisation": "PredictionType"}

__all__ = [
    "PARAMETRISATIONS",
    "PREDICTION_TYPES",
    "ClosedForm",
    "Condition",
    "DCTGaussian",
    "GaussianMixture",
    "LoadOptions",
    "NoiseSchedule",
    "Parametrisation",
    "PredictionType",
    "ScoreModel",
    "Skewed",
    "WrappedModel",
    "load_model",
    "model_names",
    "zoo_directory",
]


def __getattr__(name: str) -> Any:
    current = _OLD.get(name, name)
    if current not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[current]}"), current)


def __dir__() -> list[str]:
    return __all__
