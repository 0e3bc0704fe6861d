"""Noise schedules against diffusers and known values."""

import re

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, EDMEulerScheduler

from memdet.errors import UserError
from memdet.models import NoiseSchedule
from memdet.models.diffusers.directory import DiffusersSchedule
from tests.helpers.problems import scaled_linear_betas


def stable_diffusion(**options):
    settings = {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "clip_sample": False,
        "set_alpha_to_one": False,
        "steps_offset": 1,
    }
    return DDIMScheduler(**settings | options)


def test_betas_are_scaled_linear():
    """Linear betas between the same ends, a known mistake, give .429."""
    read = DiffusersSchedule(stable_diffusion().config)
    made = NoiseSchedule.from_betas(scaled_linear_betas())
    for schedule in (read, made):
        assert schedule.sigma(249) ** 2 == pytest.approx(0.325, abs=5e-4)
    linear = NoiseSchedule.from_betas(np.linspace(0.00085, 0.012, 1_000))
    assert linear.sigma(249) ** 2 == pytest.approx(0.429, abs=5e-4)


def test_variance_is_preserved_and_agrees_with_the_scheduler():
    ddim = stable_diffusion()
    schedule = DiffusersSchedule(ddim.config)
    np.testing.assert_allclose(schedule.alphas**2 + schedule.sigmas**2, 1, atol=1e-12)
    np.testing.assert_allclose(schedule.alphas**2, ddim.alphas_cumprod.numpy(), rtol=1e-6)
    np.testing.assert_allclose(schedule.alphas, NoiseSchedule.from_betas(scaled_linear_betas()).alphas, rtol=1e-4)


@pytest.mark.parametrize(("to_one", "alpha"), [(True, 1.0), (False, (1 - 0.00085) ** 0.5)])
def test_last_step_lands_where_the_scheduler_says(to_one, alpha):
    schedule = DiffusersSchedule(stable_diffusion(set_alpha_to_one=to_one).config)
    assert schedule.final_alpha == pytest.approx(alpha, rel=1e-6)
    assert schedule.final_alpha**2 + schedule.final_sigma**2 == pytest.approx(1)


@pytest.mark.parametrize("steps", [5, 10, 50, 100])
def test_timesteps_are_those_of_ddim(steps):
    ddim = stable_diffusion(timestep_spacing="leading")
    ddim.set_timesteps(steps)
    expected = ddim.timesteps.tolist()
    assert NoiseSchedule.from_betas(scaled_linear_betas()).timesteps(steps) == expected
    assert DiffusersSchedule(ddim.config).timesteps(steps) == expected


def test_timesteps_follow_the_spacing_of_the_configuration():
    assert DiffusersSchedule(stable_diffusion(timestep_spacing="trailing").config).timesteps(4) == [999, 749, 499, 249]


def test_all_timesteps_stay_on_the_schedule():
    for schedule in (
        NoiseSchedule.from_betas(scaled_linear_betas()),
        DiffusersSchedule(stable_diffusion().config),
        NoiseSchedule.rectified_flow(),
    ):
        timesteps = schedule.timesteps(1_000)
        assert len(timesteps) == 1_000
        assert max(timesteps) == 999


@pytest.mark.parametrize("steps", [0, -1, 1_001, 2.5, None])
def test_impossible_numbers_of_steps(steps):
    for schedule in (NoiseSchedule.from_betas(scaled_linear_betas()), DiffusersSchedule(stable_diffusion().config)):
        with pytest.raises(UserError, match=f"1 to 1000 steps on this schedule, not {steps}"):
            schedule.timesteps(steps)


def test_rectified_flow_is_a_straight_path():
    schedule = NoiseSchedule.rectified_flow(100)
    assert (schedule.alpha(24), schedule.sigma(24)) == (pytest.approx(0.75), pytest.approx(0.25))
    np.testing.assert_allclose(schedule.alphas + schedule.sigmas, 1)


def test_a_variance_preserving_schedule_from_the_products():
    ddim = stable_diffusion()
    made = NoiseSchedule.vp(ddim.alphas_cumprod)
    np.testing.assert_allclose(made.alphas**2, ddim.alphas_cumprod.numpy(), rtol=1e-6)
    np.testing.assert_allclose(made.alphas**2 + made.sigmas**2, 1)
    betas = scaled_linear_betas()
    same = NoiseSchedule.vp(np.cumprod(1 - betas), offset=0)
    np.testing.assert_array_equal(same.alphas, NoiseSchedule.from_betas(betas).alphas)
    assert same.timesteps(10)[-1] == 0


@pytest.mark.parametrize(
    "products", [[], [0.5, 0.0], [1.0, 0.5], [0.5, 0.9], [0.9, float("nan")], [[0.9, 0.5]], 0.5, "abc", None]
)
def test_products_that_are_none(products):
    with pytest.raises(UserError, match="`alphas_cumprod`"):
        NoiseSchedule.vp(products)


def test_betas_that_are_none():
    with pytest.raises(UserError, match="`betas` is a sequence of numbers, not str"):
        NoiseSchedule.from_betas("abc")
    assert NoiseSchedule.from_betas([0.5, 0.5]).alphas.tolist() == pytest.approx([0.5**0.5, 0.5])


def test_products_may_be_a_tensor_with_a_gradient():
    made = NoiseSchedule.vp(torch.tensor([0.96, 0.36], dtype=torch.float64, requires_grad=True))
    assert (made.alpha(1), made.sigma(1)) == (pytest.approx(0.6), pytest.approx(0.8))


@pytest.mark.parametrize("offset", [-3, -1, 0.5, "1", True, None])
def test_an_offset_leads_to_no_negative_timestep(offset):
    for make in (
        lambda: NoiseSchedule.vp([0.9, 0.5], offset=offset),
        lambda: NoiseSchedule.from_betas([0.1, 0.2], offset=offset),
        lambda: NoiseSchedule(np.ones(2), np.ones(2), offset=offset),
    ):
        with pytest.raises(UserError, match=f"`offset` is {offset!r}; write a whole number from 0"):
            make()


@pytest.mark.parametrize("length", [0, -1, 2.5, "10"])
def test_a_flow_has_timesteps(length):
    with pytest.raises(UserError, match=f"`length` is {length!r}; write a whole number of timesteps from 1"):
        NoiseSchedule.rectified_flow(length)


@pytest.mark.parametrize("t", [-1, 2, 1.0, "1", None, True, torch.tensor(1)])
def test_what_is_no_timestep_has_no_noise(t):
    schedule = NoiseSchedule.vp([0.96, 0.36])
    for ask in (schedule.alpha, schedule.sigma, schedule.check):
        with pytest.raises(
            ValueError, match=re.escape(f"`t` is {t!r}; timesteps of this schedule are whole numbers, 0")
        ):
            ask(t)
    assert schedule.alpha(np.int64(1)) == pytest.approx(0.6)


def test_schedules_can_be_compared():
    a, b = NoiseSchedule.vp([0.9, 0.5]), NoiseSchedule.vp([0.9, 0.5])
    assert a == a
    assert a != b
    assert len({a, b}) == 2


def test_what_a_schedule_is_shown_as():
    assert repr(NoiseSchedule.rectified_flow(100)) == "NoiseSchedule(100 timesteps, sigma 0.01 to 1)"
    assert repr(DiffusersSchedule(stable_diffusion().config)).startswith("DiffusersSchedule(1000 timesteps, sigma 0.02")


def test_noise_that_explodes():
    made = NoiseSchedule.ve(torch.tensor([0.01, 1.0, 50.0], dtype=torch.float64))
    assert made.alphas.tolist() == [1, 1, 1]
    assert (made.timesteps(3), made.landings(3)[-1]) == ([2, 1, 0], (1.0, 0.0))
    assert made.start_scale(3) == pytest.approx((1 + 50**2) ** 0.5)


def test_levels_of_edm_are_those_of_diffusers():
    """Karras et al. count from the noisiest."""
    scheduler = EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0, rho=7.0)
    scheduler.set_timesteps(18)
    np.testing.assert_allclose(NoiseSchedule.edm(18).sigmas[::-1], scheduler.sigmas[:-1].numpy(), rtol=1e-5)


@pytest.mark.parametrize("sigmas", [[], [0.0, 1.0], [2.0, 1.0], [1.0, float("inf")], [[1.0, 2.0]], 0.5, "abc", None])
def test_levels_of_noise_that_are_none(sigmas):
    with pytest.raises(UserError, match="`sigmas`"):
        NoiseSchedule.ve(sigmas)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"length": 1}, "`length` is 1; write a whole number of timesteps from 2"),
        ({"length": 2.5}, "`length` is 2.5"),
        ({"sigma_min": 0}, "0 < sigma_min < sigma_max"),
        ({"sigma_min": 90}, "`sigma_min` 90"),
        ({"sigma_max": float("inf")}, "`sigma_max` inf"),
        ({"rho": 0}, "`rho` 0 is above 0"),
        ({"rho": "seven"}, "`rho`"),
        ({"sigma_max": [80.0]}, "`sigma_max`"),
    ],
)
def test_levels_of_edm_that_are_none(options, said):
    with pytest.raises(UserError, match=said):
        NoiseSchedule.edm(**options)


@pytest.mark.parametrize(
    ("alphas", "sigmas", "said"),
    [
        ([1, 1], [1, 0.5], "noise grows with the timestep"),
        ([0, 0.5], [1, 0.5], "noise grows with the timestep"),
        ([1, 1], [1, 2, 3], "a number a timestep"),
        ([], [], "a number a timestep"),
        ([1, float("nan")], [1, 2], "numbers from 0"),
        ([1, -1], [1, 2], "numbers from 0"),
        ("abc", [1, 2], "`alphas` is a sequence of numbers"),
    ],
)
def test_alphas_and_sigmas_that_are_none(alphas, sigmas, said):
    with pytest.raises(UserError, match=said):
        NoiseSchedule(alphas, sigmas)


@pytest.mark.parametrize(("length", "steps"), [(50, 50), (99, 50), (5, 4), (1, 1), (1_000, 1_000)])
def test_no_timestep_comes_twice(length, steps):
    timesteps = NoiseSchedule.rectified_flow(length).timesteps(steps)
    assert len(set(timesteps)) == steps
    assert 0 <= min(timesteps) <= max(timesteps) < length
