"""Accelerated networks: where they are used, where not, and what happens if they are wrong."""

from __future__ import annotations

import pickle

import pytest
import torch

from memdet.curvature import JacobianOperator
from memdet.detectors import detector_classes, make_detectors
from memdet.errors import UserError
from memdet.models import load_model
from memdet.models.accelerated import BOUNDS, AccelerationError, accelerate
from memdet.running import RunOptions, run
from memdet.samplesets import load_sample_set
from tests.helpers.runs import read_manifest


class FakeCapture:
    """A CUDA graph on the CPU: a replay repeats the recorded work on the recorded memory and writes the same output."""

    def __init__(self, error=0.0):
        self.error, self.captures, self.replays = error, 0, 0

    def __call__(self, work):
        self.captures += 1
        output = torch.full_like(work(), torch.nan)  # a capture computes nothing

        def replay():
            self.replays += 1
            output.copy_(work() * (1 + self.error))

        return replay, output


@pytest.fixture
def capture():
    return FakeCapture()


@pytest.fixture
def graphed(random_model, capture):
    return accelerate(random_model, "cuda-graphs", capture)


def batch(model, size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    conditions = [f"a red circle {seed} {index}" for index in range(size)]
    return torch.randn(size, *model.latent_shape, generator=generator), model.embed(conditions)


@torch.no_grad()
def test_one_graph_serves_all_inputs_and_timesteps_of_a_shape(random_model, graphed, capture):
    outputs = []
    for seed, t in ((0, 981), (1, 981), (2, 1)):
        x, embedding = batch(random_model, 3, seed)
        outputs.append((graphed.predict(x, t, embedding), random_model.predict(x, t, embedding)))
    for found, expected in outputs:  # each has memory of its own: no later replay has written to it
        assert torch.equal(found, expected)
    assert (capture.captures, capture.replays) == (1, 3)


@torch.no_grad()
def test_every_shape_and_dtype_has_its_graph(random_model, graphed, capture):
    for size, captures in ((3, 1), (1, 2), (3, 2), (4, 3)):
        x, embedding = batch(random_model, size)
        assert torch.equal(graphed.predict(x, 500, embedding), random_model.predict(x, 500, embedding))
        assert capture.captures == captures
    x, embedding = batch(random_model, 3)
    with pytest.raises(AccelerationError, match="fails for"):  # the weights are float32
        graphed.predict(x.double(), 500, embedding.to(x.device, torch.float64))


@torch.no_grad()
def test_expanded_inputs_are_copied_in(random_model, graphed):
    """Shared noise and the null condition are one row, expanded."""
    x = batch(random_model, 1)[0].expand(3, *random_model.latent_shape)
    null = random_model.embed_null()
    expanded = null.expand(3)
    assert torch.equal(graphed.predict(x, 500, expanded), random_model.predict(x, 500, expanded))


@torch.no_grad()
def test_class_numbers_are_conditions_too(capture):
    model = load_model("fashion-pixel")
    fast = accelerate(model, "cuda-graphs", capture)
    x = torch.randn(2, *model.latent_shape, generator=torch.Generator().manual_seed(0))
    for embedding in (model.embed(model.conditions[:2]), model.embed_null().expand(2)):
        assert torch.equal(fast.predict(x, 500, embedding), model.predict(x, 500, embedding))
    assert (capture.captures, capture.replays) == (1, 2)


@pytest.mark.parametrize("backend", ["jvp", "vjp", "fd"])
def test_products_are_those_of_the_eager_network(random_model, graphed, capture, backend):
    x, embedding = batch(random_model, 2)
    v = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    products = []
    for model in (random_model, graphed):
        operator = JacobianOperator(lambda z, m=model: m.score(z, 500, embedding), x, backend, check=False)
        products.append(operator.rmv(v) if backend == "vjp" else operator.mv(v))
    assert torch.equal(*products)
    # Differences are forwards and take the graph; what differentiates does not.
    assert capture.replays == (2 if backend == "fd" else 0)


def test_what_hooks_read_comes_from_the_eager_network(random_model, graphed, capture):
    x, embedding = batch(random_model, 2)
    with torch.no_grad():
        eps, layers = graphed.attention(x, 500, embedding)
        expected, of_eager = random_model.attention(x, 500, embedding)
        assert torch.equal(graphed.bottleneck(x, 500, embedding)[1], random_model.bottleneck(x, 500, embedding)[1])
    assert torch.equal(eps, expected)
    assert [layer.name for layer in layers] == [layer.name for layer in of_eager]
    assert capture.captures == 0


def test_the_rest_is_the_model_s(random_model, graphed):
    assert graphed.fingerprint() == random_model.fingerprint()
    assert graphed.takes_prompts is True
    assert graphed.name == random_model.name


def test_a_failed_check_can_be_told_by_another_process():
    error = pickle.loads(pickle.dumps(AccelerationError("compile", "fails for a")))
    assert str(error) == "`accelerate` compile fails for a: use `accelerate` off"
    assert error.parameters == ("accelerate",)


@torch.no_grad()
@pytest.mark.parametrize("error", [2e-4, float("nan")])
def test_a_wrong_network_is_refused(random_model, error):
    fast = accelerate(random_model, "cuda-graphs", FakeCapture(error))
    x, embedding = batch(random_model, 2)
    for _ in range(2):  # and not only once
        with pytest.raises(AccelerationError, match=r"`accelerate` cuda-graphs.*differs.*float32.*`accelerate` off"):
            fast.predict(x, 500, embedding)


@torch.no_grad()
def test_rounding_is_accepted(random_model):
    fast = accelerate(random_model, "cuda-graphs", FakeCapture(BOUNDS[torch.float32] / 2))
    x, embedding = batch(random_model, 2)
    assert not torch.equal(fast.predict(x, 500, embedding), random_model.predict(x, 500, embedding))


def test_cuda_graphs_need_cuda(random_model):
    with pytest.raises(UserError, match=r"needs a CUDA device, .* is on cpu"):
        accelerate(random_model, "cuda-graphs")


def test_what_has_no_network_and_what_is_off_stay_as_they_are(random_model, capture):
    closed = load_model("mixture-2d")
    assert accelerate(closed, "compile") is closed
    assert accelerate(random_model, "off") is random_model
    fast = accelerate(random_model, "cuda-graphs", capture)
    assert accelerate(fast, "compile") is fast


@torch.no_grad()
def test_prepared_shapes_are_built_once(random_model, graphed, capture):
    graphed.prepare([3, 1])
    assert capture.captures == 2
    x, embedding = batch(random_model, 3)
    graphed.predict(x, 500, embedding)
    assert capture.captures == 2


def toy_run(out, model, **options):
    detectors = make_detectors(["wen2024@steps=3", "jeon2025", "random"], detector_classes())
    return run(
        [load_sample_set("mixture-2d")],
        detectors,
        out,
        RunOptions(seeds=1, **options),
        models={"mixture-2d": model},
        progress=False,
    )


@pytest.fixture(scope="module")
def toy():
    return load_model("toy-2d")


def test_a_failed_check_ends_a_run_instead_of_filling_rows(tmp_path, toy):
    with pytest.raises(AccelerationError, match="`accelerate` off"):
        toy_run(tmp_path / "run", accelerate(toy, "cuda-graphs", FakeCapture(0.01)))


@pytest.mark.slow
def test_a_compiled_run_gives_the_scores_of_an_eager_one(tmp_path, toy):
    import pandas as pd

    for mode in ("off", "compile"):
        toy_run(tmp_path / mode, toy, accelerate=mode, batch_size=200)
    assert "accelerate" not in read_manifest(tmp_path / "off")["settings"]
    assert read_manifest(tmp_path / "compile")["settings"]["accelerate"] == "compile"
    eager, compiled = (pd.read_parquet(tmp_path / mode / "scores.parquet") for mode in ("off", "compile"))
    assert set(eager["status"]) == {"ok"}
    torch.testing.assert_close(torch.tensor(compiled["score"]), torch.tensor(eager["score"]), rtol=1e-3, atol=1e-4)
    with pytest.raises(UserError, match="accelerate"):
        toy_run(tmp_path / "off", toy, accelerate="compile", batch_size=200)
