"""DDIM trajectories against diffusers, against a closed form, and extended no further than asked."""

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

from memdet.errors import NotApplicableError
from memdet.models import GaussianMixture, NoiseSchedule
from tests.helpers.problems import CountingMixture, make_items, make_mixture, make_probe

NAME = "fewer components than dimensions"


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 3])
def test_guided_trajectory_is_the_pipeline_s(random_pipeline, random_model, seed):
    prompts = ["alderon striped", "corvane k47 modern"]
    pipeline = StableDiffusionPipeline.from_pretrained(random_pipeline, safety_checker=None)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    states = make_probe(random_model, make_items(prompts, has_prompts=True), seed=seed, steps=10).trajectory()
    for row, prompt in enumerate(prompts):
        expected = pipeline(
            prompt,
            num_inference_steps=10,
            guidance_scale=7.5,
            generator=torch.Generator("cpu").manual_seed(seed),
            output_type="latent",
        ).images[0]
        torch.testing.assert_close(states.state(10)[row], expected, rtol=1e-4, atol=1e-4)


def test_exact_flow_of_a_gaussian():
    """With a perfect network many small steps bring the noise to ``mean + std * noise`` up to the step's error."""
    model = GaussianMixture(
        "gaussian",
        torch.tensor([[0.5, -0.2, 1.0]]),
        stds=[0.3],
        weights=[1.0],
        conditions={"all": [1.0]},
        schedule=NoiseSchedule.rectified_flow(),
        prediction_type="flow",
    )
    probe = make_probe(model, make_items(["all"]), steps=250)
    expected = torch.tensor([[0.5, -0.2, 1.0]]) + 0.3 * probe.noise
    torch.testing.assert_close(probe.trajectory(guidance=1).state(250), expected, rtol=0, atol=0.02)


def test_guidance_of_zero_and_one_follow_one_branch():
    model = make_mixture(NAME, CountingMixture)
    probe = make_probe(model, make_items(["some", "point"]), steps=5, noise="per-item")
    for guidance, branch in ((0, "null"), (1, "cond")):
        with probe.charge() as cost:
            state = probe.trajectory(guidance=guidance).state(2)
        assert cost.forwards == 2
        x = probe.noise
        for t, following in zip(probe.timesteps[:2], probe.timesteps[1:3], strict=True):
            eps = probe.eps(x, t, branch)
            clean = (x - model.schedule.sigma(t) * eps) / model.schedule.alpha(t)
            x = model.schedule.alpha(following) * clean + model.schedule.sigma(following) * eps
        torch.testing.assert_close(state, x)


@pytest.mark.parametrize("asked", [0, 1, 3])
def test_extended_no_further_than_asked(asked):
    model = make_mixture(NAME, CountingMixture)
    probe = make_probe(model, make_items(["some", "point"]), noise="per-item")
    with probe.charge() as cost:
        probe.trajectory().state(asked)
    assert cost.forwards == 2 * asked
    assert model.rows == 4 * asked


def test_whoever_uses_a_known_state_pays_for_the_way_to_it():
    model = make_mixture(NAME, CountingMixture)
    probe = make_probe(model, make_items(["some", "point"]), noise="per-item")
    probe.trajectory().state(4)
    rows = model.rows
    with probe.charge() as cost:
        probe.trajectory().state(3)
    assert cost.forwards == 6
    assert model.rows == rows


@pytest.mark.parametrize("index", [-1, 6])
def test_no_state_beyond_the_ends(index):
    probe = make_probe(make_mixture(NAME), make_items(["some"]), steps=5)
    with pytest.raises(NotApplicableError, match=f"5 steps, not {index}"):
        probe.trajectory().state(index)
