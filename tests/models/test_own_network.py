"""A network of a user's own, against the closed form that it computes."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from memdet import SampleSet, evaluate
from memdet.curvature import JacobianOperator
from memdet.detectors import detector_classes, make_detectors
from memdet.errors import NotApplicableError, UserError
from memdet.models import NoiseSchedule, ScoreModel, load_model
from memdet.models.code_digest import digest_of_code
from memdet.models.prediction_type import PREDICTION_TYPES
from memdet.probing import Probe
from tests.helpers.problems import make_items, make_mixture

NAME = "fewer components than dimensions"


def own(mixture, **options):
    """The mixture as a network of somebody's own, which takes what the mixture takes."""
    known = {"embed": mixture.embed, "null": mixture.embed_null(), "dtype": torch.float64}
    known |= {"prediction": mixture.prediction_type, "schedule": mixture.schedule, "shape": mixture.latent_shape}
    return ScoreModel.from_callable(mixture.predict, **known | options)


def scores(model, label):
    (detector,) = make_detectors([label], detector_classes())
    return detector.score(Probe(model, make_items(["some", "point", "some"])))


@pytest.mark.parametrize("prediction", PREDICTION_TYPES)
@pytest.mark.parametrize("label", ["wen2024@steps=3", "jeon2025", "hessian-trace", "jeon2024-eigenvalues@krylov=3"])
def test_detectors_score_it_as_the_closed_form(prediction, label):
    options = {"schedule": NoiseSchedule.rectified_flow()} if prediction == "flow" else {}
    mixture = make_mixture(NAME, prediction_type=prediction, **options)
    torch.testing.assert_close(scores(own(mixture), label), scores(mixture, label))


@pytest.mark.parametrize("backend", ["jvp", "vjp", "fd"])
def test_jacobian_products_are_those_of_the_closed_form(backend):
    mixture = make_mixture(NAME)
    model, embedding = own(mixture), mixture.embed(["some", "point"])
    generator = torch.Generator().manual_seed(0)
    x, v = torch.randn(2, 2, *model.latent_shape, generator=generator, dtype=torch.float64)
    operator = JacobianOperator(lambda z: model.score(z, 500, embedding), x, backend)
    found = operator.rmv(v) if backend == "vjp" else operator.mv(v)
    torch.testing.assert_close(found, mixture.exact_hessian_product(x, 500, embedding, v), rtol=1e-5, atol=1e-7)


def normal(x, t, schedule):
    """The noise in standard normal data, whose score is -x."""
    return schedule.sigma(t) * x


@pytest.fixture
def unconditional():
    schedule = NoiseSchedule.vp(torch.linspace(0.999, 0.01, 1_000, dtype=torch.float64))
    network = partial(normal, schedule=schedule)
    return ScoreModel.from_callable(network, shape=(2, 3), schedule=schedule, dtype=torch.float64)


def test_an_unconditional_network_runs_what_needs_no_null_branch(unconditional):
    found = scores(unconditional, "hessian-trace")
    torch.testing.assert_close(found.abs(), torch.full((3,), 6.0, dtype=torch.float64))  # the trace of -I
    for label in ("wen2024", "jeon2025", "condition-jacobian", "trace-gap"):
        with pytest.raises(NotApplicableError, match="normal is unconditional: it has no null branch"):
            scores(unconditional, label)
    with pytest.raises(NotApplicableError, match="does not generate images"):
        unconditional.decode(torch.zeros(1, 2, 3))


def test_conditions_that_an_encoder_fails_for_are_refused_before_scores():
    known = {"a": 0, "b": 1}
    model = ScoreModel.from_callable(
        lambda x, t, condition: x,
        shape=(2,),
        schedule=NoiseSchedule.vp([0.9, 0.1]),
        embed=lambda texts: torch.tensor([known[text] for text in texts]),
    )
    items = SampleSet.from_pandas(pd.DataFrame({"condition": ["a", "hat"], "label": [0, 1]}), steps=1)
    with pytest.raises(UserError, match=r"`embed` of .* fails for 'a', 'hat' \(KeyError: 'hat'\)"):
        evaluate("wen2024", items, model=model, progress=False)


def test_a_conditional_network_may_have_no_null_branch():
    mixture = make_mixture(NAME)
    model = own(mixture, null=None)
    torch.testing.assert_close(scores(model, "hessian-trace"), scores(mixture, "hessian-trace"))
    with pytest.raises(NotApplicableError, match="predict has no null branch"):
        scores(model, "wen2024")


def test_what_it_is_told_is_what_it_is(unconditional):
    assert repr(unconditional) == "CallableModel('normal', latent (2, 3), eps, cpu, float64)"
    mixture = make_mixture(NAME)
    model = own(mixture, name="mine", decode=lambda x: x.clamp(0, 1), dtype=torch.float32)
    assert (model.name, model.takes_prompts, model.dtype) == ("mine", False, torch.float32)
    assert model.embed(["some"]).tensor.dtype == model.embed_null().tensor.dtype == torch.float32
    assert torch.equal(model.decode(torch.tensor([2.0, -1.0])), torch.tensor([1.0, 0.0]))
    seen = []
    model = own(mixture, embed=lambda texts: seen.append(texts) or torch.arange(len(texts)), null=torch.tensor([7]))
    assert model.embed(("a", "b")).tensor.dtype == torch.int64
    assert seen == [["a", "b"]]


def test_one_row_of_conditions_serves_all_rows_and_time_is_a_number():
    seen = []

    def network(x, t, condition):
        seen.append((t, condition.shape))
        return x

    schedule = NoiseSchedule.rectified_flow()
    model = ScoreModel.from_callable(network, shape=(2,), schedule=schedule, embed=lambda texts: torch.zeros(1, 4))
    model.predict(torch.zeros(5, 2), 500, model.embed([""]))
    assert seen == [(500, torch.Size([5, 4]))]


def test_mistakes_are_named():
    mixture = make_mixture(NAME)
    with pytest.raises(UserError, match="unknown prediction type 'noise'; known: eps, x0, v, flow"):
        own(mixture, prediction="noise")
    with pytest.raises(UserError, match="unconditional network has one branch"):
        own(mixture, embed=None)
    with pytest.raises(UserError, match=r"`null` is one encoded condition, \[1, ...\], and not \[3\]"):
        own(mixture, null=torch.zeros(3))
    with pytest.raises(UserError, match=r"`embed` gave \[1, 3\] for 2 conditions"):
        own(mixture, embed=lambda texts: torch.zeros(1, 3)).embed(["a", "b"])
    short = ScoreModel.from_callable(lambda x, t: x[:, :1], shape=(2,), schedule=mixture.schedule, name="short")
    with pytest.raises(UserError, match=r"short gives \[3, 1\] for an input of \[3, 2\]"):
        short.predict(torch.zeros(3, 2), 1, short.embed(["a"] * 3))
    with pytest.raises(UserError, match="predict: `embed` gave list; return a tensor"):
        own(mixture, embed=lambda texts: [0.0]).embed(["a"])
    silent = ScoreModel.from_callable(lambda x, t: None, shape=(2,), schedule=mixture.schedule, name="silent")
    with pytest.raises(UserError, match="silent gave NoneType; return a tensor"):
        silent.predict(torch.zeros(3, 2), 1, silent.embed(["a"] * 3))


SHAPE = "write the sizes of one sample as whole numbers from 1"
DTYPE = "write a dtype of torch that holds decimals, torch.float32"
SCHEDULE = "give a NoiseSchedule, NoiseSchedule.vp(alphas_cumprod)"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fn": None}, "`fn` is None; give a function or a module that can be called"),
        ({"fn": "abc"}, "`fn` is 'abc'; give a function"),
        ({"embed": "abc"}, "`embed` is 'abc'; give a function"),
        ({"decode": 3}, "`decode` is 3; give a function"),
        ({"shape": "2"}, f"`shape` is '2'; {SHAPE}"),
        ({"shape": 2}, f"`shape` is 2; {SHAPE}"),
        ({"shape": (2.5,)}, f"`shape` is (2.5,); {SHAPE}"),
        ({"shape": (-1,)}, f"`shape` is (-1,); {SHAPE}"),
        ({"shape": (0, 2)}, f"`shape` is (0, 2); {SHAPE}"),
        ({"shape": (True,)}, f"`shape` is (True,); {SHAPE}"),
        ({"shape": ()}, f"`shape` is (); {SHAPE}"),
        ({"shape": None}, f"`shape` is None; {SHAPE}"),
        ({"schedule": None}, f"`schedule` is None; {SCHEDULE}"),
        ({"schedule": np.array([0.9, 0.1])}, f"`schedule` is of type ndarray; {SCHEDULE}"),
        ({"dtype": "float32"}, f"`dtype` is 'float32'; {DTYPE}"),
        ({"dtype": torch.int64}, f"`dtype` is torch.int64; {DTYPE}"),
        ({"dtype": None}, f"`dtype` is None; {DTYPE}"),
        ({"device": "gpu"}, "`device` 'gpu' does not work here"),
        ({"device": None}, "`device` is None; write auto, cpu, cuda or mps"),
        ({"null": [0]}, "`null` is of type list; give one encoded condition as a tensor [1, ...]"),
        ({"null": 0}, "`null` is 0; give one encoded condition as a tensor"),
        ({"prediction": None}, "unknown prediction type None; known: eps, x0, v, flow"),
        ({"name": 3}, "`name` is 3; write text, or leave it out"),
    ],
)
def test_what_is_no_part_of_a_model(options, words):
    mixture = make_mixture(NAME)
    parts = {"fn": mixture.predict, "embed": mixture.embed, "null": mixture.embed_null(), "shape": (1, 2, 3)}
    parts |= {"schedule": mixture.schedule} | options
    with pytest.raises(UserError) as caught:
        ScoreModel.from_callable(parts.pop("fn"), **parts)
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("shape", [[1, 2, 3], torch.Size((1, 2, 3)), (np.int64(1), np.int64(2), np.int64(3))])
def test_a_shape_is_any_sequence_of_sizes(shape):
    model = own(make_mixture(NAME), shape=shape, device=torch.device("cpu"))
    assert model.latent_shape == (1, 2, 3)
    assert [type(size) for size in model.latent_shape] == [int, int, int]


class Network(nn.Module):
    def __init__(self, scale=1.0):
        super().__init__()
        self.layer, self.scale = nn.Linear(2, 2), scale

    def forward(self, x, t):
        return self.scale * self.layer(x)


def module(scale=1.0, seed=0):
    torch.manual_seed(seed)
    return Network(scale)


def test_the_fingerprint_is_that_of_code_and_weights():
    schedule = load_model("mixture-2d").schedule

    def of(fn, **options):
        return ScoreModel.from_callable(fn, **{"shape": (2,), "schedule": schedule} | options).fingerprint()

    def double(x, t):
        return 2 * x

    def triple(x, t):
        return 3 * x

    def times(number):
        return lambda x, t: number * x

    known = [of(module()), of(module(scale=2.0)), of(module(seed=1)), of(double), of(triple)]
    known += [of(times(2)), of(times(3)), of(partial(triple, t=1)), of(double, prediction="v"), of(double, shape=(3,))]
    known += [of(double, schedule=NoiseSchedule.rectified_flow())]
    assert len(set(known)) == len(known)
    assert of(module()) == known[0]
    assert of(times(2)) == known[5]
    changed = module()
    model = ScoreModel.from_callable(changed, shape=(2,), schedule=schedule)
    with torch.no_grad():
        changed.layer.weight[0, 0] += 1
    assert model.fingerprint() not in known


def helper(x):
    return 2 * x


def calls_helper(x, t):
    return helper(x)


def test_what_code_calls_is_read_too(monkeypatch):
    before = digest_of_code(calls_helper)
    assert digest_of_code(calls_helper) == before
    monkeypatch.setitem(globals(), "helper", normal)
    assert digest_of_code(calls_helper) != before


def test_values_that_hold_themselves_end_and_sharing_does_not_count():
    loop = []
    loop.append(loop)
    assert digest_of_code(loop) == digest_of_code(loop)
    shared = [1.5]
    assert digest_of_code([shared, shared]) == digest_of_code([[1.5], [1.5]])
    assert digest_of_code(torch.float32) != digest_of_code(torch.float64)
    assert digest_of_code({"a": torch.zeros(2)}) != digest_of_code({"a": torch.zeros(2, dtype=torch.int32)})


@pytest.mark.slow
def test_code_without_source_is_read_as_bytecode():
    """As at a prompt; and in another process it is the same."""
    code = (
        "from memdet.models.code_digest import digest_of_code; a = 2;"
        "exec('f = lambda x, t: a * x'); exec('g = lambda x, t: a + x');"
        "print(digest_of_code(f), digest_of_code(g))"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        for _ in range(2)
    ]
    assert runs[0] == runs[1]
    assert runs[0][0] != runs[0][1]
