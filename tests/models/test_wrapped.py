"""A wrapped model passes on whatever a score model has, today and later."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections import Counter

import pytest
import torch

from memdet.benching.network_calls import recorded_calls
from memdet.errors import UserError
from memdet.models import ClosedForm, Condition, ScoreModel, Skewed, WrappedModel, load_model
from memdet.models.accelerated import Accelerated
from memdet.models.wrapped import layers
from tests.helpers.problems import CountingMixture, make_mixture

OWN = {"eps", "score"}  # they rest on the wrapper's own prediction
PUBLIC = {name for name in {*dir(ScoreModel), *ScoreModel.__annotations__} if not name.startswith("_")}
CONSTRUCTORS = {name for name in PUBLIC if isinstance(vars(ScoreModel).get(name), classmethod | staticmethod)}
METHODS = {name for name in PUBLIC - CONSTRUCTORS if inspect.isfunction(getattr(ScoreModel, name, None))}
ATTRIBUTES = PUBLIC - METHODS - CONSTRUCTORS


def answering(name):
    """A method that gives its name and what it was given."""
    return lambda self, *given, **named: (name, *given, *named.items())


def recorder():
    """A model all of whose members can be told apart."""
    members = {name: answering(name) for name in METHODS}
    model = type("Recorder", (ScoreModel,), members)()
    for name in ATTRIBUTES - {"parametrisation"}:
        setattr(model, name, f"the {name}")
    return model


def test_the_members_are_found():
    assert {"predict", "network", "attention", "end_positions", "are_cut", "decode", "fingerprint"} < METHODS
    named = {"name", "latent_shape", "schedule", "prediction_type", "parametrisation", "device", "dtype"}
    assert named | {"takes_prompts"} == ATTRIBUTES


@pytest.mark.parametrize("name", sorted(METHODS - OWN))
def test_a_method_is_passed_on(name):
    inner = recorder()
    parameters = list(inspect.signature(getattr(ScoreModel, name)).parameters.values())[1:]
    arguments = [f"argument {p.name}" for p in parameters if p.kind is not inspect.Parameter.VAR_KEYWORD]
    named = {"tensor": "one"} if len(arguments) < len(parameters) else {}
    for model in (WrappedModel(inner), WrappedModel(WrappedModel(inner))):
        assert getattr(model, name)(*arguments, **named) == (name, *arguments, *named.items())


@pytest.mark.parametrize("name", sorted(ATTRIBUTES))
def test_an_attribute_is_passed_on(name):
    inner = recorder()
    model = WrappedModel(WrappedModel(inner))
    assert getattr(model, name) == getattr(inner, name)
    if name != "parametrisation":
        setattr(inner, name, "another")
        assert getattr(model, name) == "another"


class Doubled(WrappedModel):
    """Predicts twice what the inner model predicts."""

    def predict(self, x, t, embedding):
        return 2 * super().predict(x, t, embedding)


def test_eps_and_score_rest_on_the_wrapper_s_prediction():
    inner = make_mixture("more components than dimensions")
    model, x = Doubled(inner), torch.ones(1, 2, dtype=torch.float64)
    for method in ("eps", "score"):
        found, known = (getattr(one, method)(x, 500, one.embed(["some"])) for one in (model, inner))
        assert torch.equal(found, 2 * known)
        assert bool((known != 0).all())


def test_an_attribute_of_the_wrapper_s_own_wins():
    inner = load_model("mixture-2d")
    model = WrappedModel(inner)
    model.name = "another"
    assert (model.name, inner.name) == ("another", "mixture-2d")
    with pytest.raises(AttributeError, match="no_such_thing"):
        model.no_such_thing  # noqa: B018


def test_a_wrapper_is_copied_and_pickled():
    model = WrappedModel(make_mixture("more components than dimensions"))
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert twin.fingerprint() == model.fingerprint()
        assert twin.inner is not model.inner


def test_a_skewed_closed_form_is_one():
    wrapped = make_mixture("more components than dimensions")
    model = Skewed(wrapped, 0.3)
    assert isinstance(model, ClosedForm)
    assert layers(model) == [model, wrapped]
    assert model.name == f"{wrapped.name}-skewed"
    assert model.schedule is wrapped.schedule
    assert torch.equal(model.embed(["some"]).tensor, wrapped.embed(["some"]).tensor)


def test_calls_are_noted_once_through_every_layer():
    counting = make_mixture("more components than dimensions", CountingMixture)

    def network(x, t, condition):
        return counting.predict(x, int(t), Condition.of(condition))

    model = Doubled(Accelerated(WrappedModel(counting), "compile", network))
    x, embedding = torch.ones(3, 2, dtype=torch.float64), counting.embed(["some"] * 3)
    model.inner._checked = {((x.shape, x.dtype), embedding.shapes())}
    counting.calls.clear()
    with recorded_calls(model) as calls, torch.no_grad():
        model.predict(x, 500, embedding)
        counting.predict(x, 500, embedding)  # as the hooks of attention do
    assert Counter((call.kind, call.rows) for call in calls) == {("forward", 3): 2}
    assert len(counting.calls) == 2
    assert all("predict" not in vars(layer) for layer in layers(model))


def test_what_a_wrapper_is_shown_as():
    model = load_model("mixture-2d")
    assert repr(WrappedModel(model)) == f"WrappedModel({model!r})"


@pytest.mark.parametrize("inner", [None, "mixture-2d", ScoreModel])
def test_what_is_no_model_cannot_be_wrapped(inner):
    with pytest.raises(UserError, match=f"a score model can be wrapped, not {type(inner).__name__}; memdet.load_model"):
        WrappedModel(inner)
