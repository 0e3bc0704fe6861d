"""Names of models: found without torch, built by name, and old names of the package."""

from __future__ import annotations

import subprocess
import sys

import pytest

from memdet import models
from memdet.io_utils import weights_root
from memdet.models.closed_form.catalogue import CLOSED_FORM
from memdet.models.names import PLANTED_FILES


@pytest.mark.parametrize(
    "code",
    [
        "import memdet.models; assert 'mixture-2d' in memdet.models.model_names()",
        "from memdet.models.closed_form.catalogue import CLOSED_FORM; assert CLOSED_FORM",
        "from memdet.models import zoo_directory; assert (zoo_directory() / 'tiny-sd-a').is_dir()",
    ],
)
def test_names_need_no_torch(code):
    heavy = "{'torch', 'numpy', 'diffusers', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", f"import sys; {code}; assert not {heavy}, {heavy}"], check=True)


def test_names_are_those_of_closed_forms_and_of_shipped_weights():
    planted = {path.parent.name for name in PLANTED_FILES for path in weights_root().glob(f"*/{name}")}
    assert set(models.model_names()) == planted | set(CLOSED_FORM)
    assert len(planted) >= 5


@pytest.mark.parametrize("name", CLOSED_FORM)
def test_a_closed_form_is_built_by_its_name(name):
    model = models.load_model(name)
    assert isinstance(model, models.ClosedForm)
    assert model.name == name


def test_public_names_and_the_names_that_they_had():
    assert all(getattr(models, name) is not None for name in models.__all__)
    assert set(dir(models)) == set(models.__all__)
    assert models.PARAMETRISATIONS is models.PREDICTION_TYPES
    assert models.Parametrisation is models.PredictionType
    assert models.zoo_directory is weights_root
    with pytest.raises(AttributeError, match=r"'memdet.models' has no attribute 'zzz'"):
        models.zzz  # noqa: B018


def test_prediction_type_had_another_name():
    model = models.load_model("mixture-2d")
    assert model.parametrisation == model.prediction_type == "eps"
    with pytest.raises(AttributeError):
        model.parametrisation = "v"
