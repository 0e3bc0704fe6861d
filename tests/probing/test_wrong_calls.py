"""What a probe is not asked: names, timesteps and things that are none."""

from __future__ import annotations

import re

import pytest
import torch

from memdet.detectors import detector_classes, make_detector
from memdet.errors import UserError
from memdet.models import load_model
from memdet.probing import Probe
from memdet.samplesets import load_sample_set
from tests.helpers.problems import CountingMixture, make_items, make_mixture, make_probe

BRANCHES = "known: cond, null"
TIMES = "timesteps of this schedule are whole numbers, 0 to 999"
# Every method of a probe that takes a timestep, at x and the vector v.
AT_A_TIME = {
    "eps": lambda p, x, v, t: p.eps(x, t, "cond"),
    "score": lambda p, x, v, t: p.score(x, t, "null"),
    "both": lambda p, x, v, t: p.both(x, t),
    "difference": lambda p, x, v, t: p.difference(x, t),
    "attention": lambda p, x, v, t: p.attention(x, t, "cond"),
    "bottleneck": lambda p, x, v, t: p.bottleneck(x, t, "cond"),
    "embedding_product": lambda p, x, v, t: p.embedding_product(x, t),
    "jacobian_product": lambda p, x, v, t: p.jacobian_product(x, t, "cond", v),
    "both_products": lambda p, x, v, t: p.both_products(x, t, v, "fd"),
    "jacobian_matrix": lambda p, x, v, t: p.jacobian_matrix(x, t, "cond"),
    "spectrum": lambda p, x, v, t: p.spectrum(x, t, "cond"),
    "spectrum_of_difference": lambda p, x, v, t: p.spectrum_of_difference(x, t),
    "frobenius_of_difference": lambda p, x, v, t: p.frobenius_of_difference(x, t),
    "at": lambda p, x, v, t: p.at(t),
    "nearest_timestep": lambda p, x, v, t: p.nearest_timestep(t),
}
OF_A_BRANCH = {
    "eps": lambda p, x, v, branch: p.eps(x, 500, branch),
    "score": lambda p, x, v, branch: p.score(x, 500, branch),
    "attention": lambda p, x, v, branch: p.attention(x, 500, branch),
    "bottleneck": lambda p, x, v, branch: p.bottleneck(x, 500, branch),
    "jacobian_product": lambda p, x, v, branch: p.jacobian_product(x, 500, branch, v),
    "jacobian_matrix": lambda p, x, v, branch: p.jacobian_matrix(x, 500, branch),
    "spectrum": lambda p, x, v, branch: p.spectrum(x, 500, branch),
}


@pytest.fixture
def model():
    return make_mixture("fewer components than dimensions", CountingMixture)


@pytest.fixture
def probe(model):
    return make_probe(model, make_items(["some", "point"]))


@pytest.mark.parametrize("name", OF_A_BRANCH)
@pytest.mark.parametrize("branch", ["conditional", "Null", "", None, 0])
def test_an_unknown_branch_is_refused_before_anything_is_computed(probe, model, name, branch):
    with pytest.raises(ValueError, match=re.escape(f"unknown branch {branch!r}; {BRANCHES}")):
        OF_A_BRANCH[name](probe, probe.noise, probe.noise, branch)
    assert model.rows == 0


@pytest.mark.parametrize("name", AT_A_TIME)
@pytest.mark.parametrize("t", [-1, 1_000, 5_000, 500.0, "500", True, torch.tensor(500)])
def test_what_is_no_timestep_is_refused_before_anything_is_computed(probe, model, name, t):
    with pytest.raises(ValueError, match=re.escape(f"`t` is {t!r}; {TIMES}")):
        AT_A_TIME[name](probe, probe.noise, probe.noise, t)
    assert model.rows == 0


def test_the_first_and_the_last_timestep_are_some(probe):
    assert [probe.nearest_timestep(t) for t in (0, 999)] == [1, 981]
    assert [probe.eps(probe.noise, t, "cond").shape for t in (0, 999)] == [probe.noise.shape] * 2


@pytest.mark.parametrize("kind", ["rademacherr", "Gaussian", "", None])
def test_an_unknown_kind_of_vectors_is_refused(probe, kind):
    with pytest.raises(ValueError, match=f"unknown kind of probe vectors {kind!r}; known: rademacher, gaussian"):
        probe.directions(1, kind)


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("backend", ["jvpp", "forward", ""])
def test_an_unknown_backend_is_refused(model, backend, check):
    probe = make_probe(model, make_items(["some", "point"]), check=check)
    for ask in (
        lambda: probe.jacobian_product(probe.noise, 500, "cond", probe.noise, backend),
        lambda: probe.both_products(probe.noise, 500, probe.noise, backend),
    ):
        with pytest.raises(ValueError, match=f"unknown backend {backend!r}; known: jvp, vjp, fd, fd-one-sided"):
            ask()
    assert model.rows == 0


@pytest.mark.parametrize("text", ["jeon2025@t=5000", "jeon2025@t=-1", "wen2024@t=1000"])
def test_a_detector_of_a_time_that_is_none_gives_no_score(probe, text):
    with pytest.raises(ValueError, match=f"`t` is {text.partition('t=')[2]}; {TIMES}"):
        make_detector(text, detector_classes()).score(probe)


MIXTURE, SET = load_model("mixture-2d"), load_sample_set("mixture-2d")


@pytest.mark.parametrize(
    ("given", "options", "words"),
    [
        (("mixture-2d", SET), {}, "`model` is a score model, not str; memdet.load_model('mixture-2d') loads it"),
        ((None, SET), {}, "`model` is a score model, not NoneType; memdet.load_model loads one"),
        ((SET, MIXTURE), {}, "`model` is a score model, not SampleSet; memdet.load_model loads one"),
        ((MIXTURE, "mixture-2d"), {}, "not str; memdet.load_sample_set('mixture-2d') loads it"),
        ((MIXTURE, SET.items), {}, "`sample_set` is a sample set, not DataFrame; memdet.load_sample_set loads one"),
        ((MIXTURE, SET), {"seed": "a"}, "`seed` is 'a'; write a whole number"),
        ((MIXTURE, SET), {"seed": 1.5}, "`seed` is 1.5; write a whole number"),
        ((MIXTURE, SET), {"seed": True}, "`seed` is True; write a whole number"),
        ((MIXTURE, SET), {"rows": 3}, "`rows` is 3; write positions as a list or a slice, [3] or slice(3)"),
        ((MIXTURE, SET), {"rows": "3"}, "`rows` is '3'; write positions as a list or a slice"),
        ((MIXTURE, SET), {"rows": [1_000]}, "`rows` holds 1000; there are"),
        ((MIXTURE, SET), {"rows": [-1_000]}, "`rows` holds -1000; there are"),
        ((MIXTURE, SET), {"rows": [0.5]}, "`rows` holds 0.5; write positions, whole numbers from 0"),
        ((MIXTURE, SET), {"rows": [True, False]}, "`rows` holds True; write positions, whole numbers from 0"),
    ],
)
def test_what_no_probe_can_be_made_of(given, options, words):
    with pytest.raises(UserError, match=re.escape(words)):
        Probe.of(*given, **options)


@pytest.mark.parametrize("rows", [[0, -1], range(0, 400, 399), slice(0, 400, 399), torch.tensor([0, 399]).numpy()])
def test_rows_are_positions(rows):
    ids = Probe.of(MIXTURE, SET).evaluator.items.ids
    assert Probe.of(MIXTURE, SET, rows=rows).evaluator.items.ids == [ids[0], ids[399]]
