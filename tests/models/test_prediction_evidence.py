"""What networks predict, told from their answers: every true and every wrong label, and networks that say nothing."""

import itertools

import pytest
import torch

from memdet.models import PREDICTION_TYPES, ScoreModel, WrappedModel, load_model, model_names
from memdet.models.closed_form.catalogue import CLOSED_FORM
from memdet.models.prediction_evidence import doubt_of
from memdet.models.prediction_type import output_from_eps

PLANTED = [name for name in model_names() if name not in CLOSED_FORM]
PICTURES = [name for name in PLANTED if name != "toy-2d"]
WRONG = list(itertools.permutations(PREDICTION_TYPES, 2))


class Converted(WrappedModel):
    """The same model by a network that predicts something else, and what it is said to predict."""

    def __init__(self, inner, predicted, said):
        super().__init__(inner)
        self.predicted, self.prediction_type = predicted, said
        self.asked = 0

    def predict(self, x, t, embedding):
        self.asked += 1
        inner = self.inner
        alpha, sigma = inner.schedule.alpha(t), inner.schedule.sigma(t)
        eps = inner.eps(x.to(inner.dtype), t, embedding).double()
        return output_from_eps(eps, x.double(), alpha, sigma, self.predicted)


def as_network(name):
    """A closed form as a network that nobody knows to be one."""
    inner = load_model(name)
    return ScoreModel.from_callable(
        lambda x, t, condition: inner.eps(x, t, condition),
        shape=inner.latent_shape,
        schedule=inner.schedule,
        embed=inner.embed,
        null=inner.embed_null(),
        dtype=inner.dtype,
        name=name,
    )


@pytest.fixture(scope="module")
def loaded():
    models = {name: load_model(name) for name in PLANTED}
    return models | {name: as_network(name) for name in CLOSED_FORM}


@pytest.mark.slow
@pytest.mark.parametrize("said", PREDICTION_TYPES)
@pytest.mark.parametrize("name", [*PLANTED, *CLOSED_FORM])
def test_a_true_label_is_never_doubted(loaded, name, said):
    assert doubt_of(Converted(loaded[name], said, said)) is None


@pytest.mark.slow
@pytest.mark.parametrize(("predicted", "said"), WRONG)
@pytest.mark.parametrize("name", PICTURES)
def test_every_wrong_label_of_a_planted_model_is_found(loaded, name, predicted, said):
    doubt = doubt_of(Converted(loaded[name], predicted, said))
    assert doubt is not None
    assert (doubt.name, doubt.stated, doubt.found) == (name, said, predicted)
    stated, found = doubt.agreement
    assert found > 0.8 or predicted == "flow"
    assert found > stated


@pytest.mark.slow
@pytest.mark.parametrize(("predicted", "said"), WRONG)
@pytest.mark.parametrize("name", ["toy-2d", *CLOSED_FORM])
def test_a_wrong_label_of_other_samples_is_found_or_not_and_never_mistaken(loaded, name, predicted, said):
    """Samples of two numbers, or of one mode, give types away in part; a doubt names a type that fits."""
    doubt = doubt_of(Converted(loaded[name], predicted, said))
    alike = {predicted, "eps"} if predicted == "flow" else {predicted}
    assert doubt is None or doubt.found in alike
    if predicted == "eps" and said in ("v", "x0"):  # at pure noise its output is its input, whatever the data
        assert doubt is not None


@pytest.mark.parametrize("said", PREDICTION_TYPES)
def test_networks_that_were_never_trained_are_not_doubted(random_model, said):
    assert doubt_of(Converted(random_model, "eps", said)) is None
    for seed in range(10):
        torch.manual_seed(seed)
        layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3, padding=1),
            torch.nn.GroupNorm(2, 8),
            torch.nn.SiLU(),
            torch.nn.Conv2d(8, 3, 3, padding=1),
        ).eval()
        schedule = random_model.schedule
        model = ScoreModel.from_callable(
            lambda x, t, layers=layers: layers(x), shape=(3, 16, 16), schedule=schedule, prediction=said
        )
        assert doubt_of(model) is None


def test_a_network_that_agrees_is_asked_once_or_twice(loaded):
    for said, forwards in (("eps", 1), ("v", 2), ("flow", 2), ("x0", 2)):
        model = Converted(loaded["tiny-sd-a"], said, said)
        assert doubt_of(model) is None
        assert model.asked == forwards


@pytest.mark.parametrize("output", [float("nan"), float("inf"), 0.0])
def test_answers_that_are_no_numbers_say_nothing(loaded, output):
    schedule = loaded["tiny-sd-a"].schedule
    for said in PREDICTION_TYPES:
        model = ScoreModel.from_callable(
            lambda x, t: torch.full_like(x, output), shape=(4, 8, 8), schedule=schedule, prediction=said
        )
        assert doubt_of(model) is None


def test_a_network_that_fails_says_nothing(loaded):
    def fail(x, t):
        raise RuntimeError("no")

    assert doubt_of(ScoreModel.from_callable(fail, shape=(4, 8, 8), schedule=loaded["tiny-sd-a"].schedule)) is None


def test_a_network_without_a_null_branch_is_asked_under_a_condition(loaded):
    inner = loaded["tiny-sd-a"]
    model = ScoreModel.from_callable(
        inner.eps, shape=inner.latent_shape, schedule=inner.schedule, prediction="v", embed=inner.embed
    )
    doubt = doubt_of(model, "alderon plain coat")
    assert doubt is not None
    assert doubt.found == "eps"


def test_what_is_said_names_both_numbers_and_how_to_mend_it(loaded):
    text = str(doubt_of(Converted(loaded["fashion-pixel"], "eps", "v")))
    assert "predicting v, and its output looks like eps" in text
    assert '"prediction_type": "epsilon" in scheduler_config.json' in text
    assert "1.00 with eps" in text
    assert "\n" not in text


def test_no_generator_of_the_caller_is_drawn_from(loaded):
    before = torch.get_rng_state()
    doubt_of(Converted(loaded["tiny-sd-a"], "eps", "x0"))
    assert torch.equal(torch.get_rng_state(), before)
