"""Trajectories against diffusers' own DDIM scheduler, step for step, and settings that DDIM cannot follow."""

import json
import shutil

import pytest
import torch
from diffusers import DDIMPipeline, DDIMScheduler, DDPMScheduler, StableDiffusionPipeline, UNet2DModel

from memdet.errors import UserError
from memdet.models import load_model
from memdet.models.diffusers.directory import DiffusersSchedule
from memdet.models.diffusers.scheduler_config import _OF_BETAS
from memdet.probing import Items
from tests.helpers.problems import make_probe

SETTINGS = {
    "nothing": {},
    "clipped": {"clip_sample": True},
    "clipped to a range": {"clip_sample": True, "clip_sample_range": 0.3},
    "range without clipping": {"clip_sample_range": 0.3},
    "thresholded": {"thresholding": True, "sample_max_value": 3.0, "dynamic_thresholding_ratio": 0.9},
    "thresholded, which goes before clipping": {"thresholding": True, "clip_sample": True, "clip_sample_range": 0.1},
    "to alpha of one": {"set_alpha_to_one": True},
    "no offset": {"steps_offset": 0},
    "an offset beyond the last stride": {"steps_offset": 145, "set_alpha_to_one": True},
    "trailing": {"timestep_spacing": "trailing"},
    "linspace": {"timestep_spacing": "linspace"},
    "trailing, clipped, to one": {"timestep_spacing": "trailing", "clip_sample": True, "set_alpha_to_one": True},
    "v": {"prediction_type": "v_prediction", "clip_sample": True},
    "x0": {"prediction_type": "sample", "clip_sample": True, "clip_sample_range": 0.5},
    "cosine betas": {"beta_schedule": "squaredcos_cap_v2", "clip_sample": True, "timestep_spacing": "linspace"},
    "own betas": {"trained_betas": [0.001 * (1 + i / 100) for i in range(1_000)], "thresholding": True},
}
BASE = {"steps_offset": 1, "set_alpha_to_one": False, "clip_sample": False}


@pytest.fixture(scope="module")
def pixel_pipeline(tmp_path_factory):
    """A class-conditional pixel pipeline that was never trained."""
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        block_out_channels=(8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        num_class_embeds=4,
    )
    directory = tmp_path_factory.mktemp("pixels") / "random-pixel"
    DDIMPipeline(unet=unet, scheduler=DDIMScheduler(**BASE)).save_pretrained(directory)
    (directory / "labels.json").write_text(json.dumps(["0", "1", "2"]))
    (directory / "labels.json").write_text('["0", "1", "2"]')  # the fourth is the null class
    return directory


@pytest.fixture(params=["latent", "pixel"])
def with_scheduler(request, random_pipeline, pixel_pipeline, tmp_path):
    """Gives a random model whose scheduler has these settings, or lacks some."""

    def make(lacking=(), **settings):
        source = random_pipeline if request.param == "latent" else pixel_pipeline
        directory = tmp_path / f"model-{len(list(tmp_path.iterdir()))}"
        shutil.copytree(source, directory)
        path = directory / "scheduler" / "scheduler_config.json"
        kept = {key: value for key, value in json.loads(path.read_text()).items() if key not in lacking}
        path.write_text(json.dumps(kept | settings))
        return directory

    make.family = request.param
    return make


def probe_of(model, guidance, steps):
    conditions = ["alderon striped", "plain coat"] if model.takes_prompts else ["0", "2"]
    items = Items(["a", "b"], conditions, ["a", "b"], [0, 1], model.takes_prompts)
    return make_probe(model, items, steps=steps, guidance=guidance)


def states_of_diffusers(model, conditions, scheduler, noise, guidance, steps):
    """What the scheduler makes of the network's raw outputs, the noise first."""
    scheduler.set_timesteps(steps)
    cond, null = model.embed(conditions), model.embed_null()
    null = null.expand(len(conditions))
    found = [noise]
    with torch.no_grad():
        for t in scheduler.timesteps.tolist():
            c, u = model.predict(found[-1], t, cond), model.predict(found[-1], t, null)
            found.append(scheduler.step(u + guidance * (c - u), t, found[-1], eta=0.0).prev_sample)
    return found


def as_its_pipeline_reads_it(directory, family):
    """The configuration; ``StableDiffusionPipeline`` mends two settings of it."""
    config = json.loads((directory / "scheduler" / "scheduler_config.json").read_text())
    return config | ({"clip_sample": False, "steps_offset": 1} if family == "latent" else {})


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"clip_sample": True, "steps_offset": 0}, {"beta_schedule": "linear"}])
def test_old_configurations_are_read_as_the_pipeline_mends_them(random_pipeline, copy_of_pipeline, settings):
    directory = copy_of_pipeline()
    path = directory / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    mended = StableDiffusionPipeline.from_pretrained(directory, safety_checker=None).scheduler
    scheduler, model = DDIMScheduler.from_config(mended.config), load_model(directory)
    probe = probe_of(model, 3.0, 7)
    wanted = states_of_diffusers(model, probe.evaluator.items.conditions, scheduler, probe.noise, 3.0, 7)
    torch.testing.assert_close(probe.trajectory().clean(), wanted[-1], rtol=1e-3, atol=1e-4)


def classes_of_schedulers():
    """Names of all scheduler classes of the installed diffusers."""
    import diffusers

    return sorted(name for name in dir(diffusers) if name.endswith("Scheduler") and not name.startswith(("Flax", "_")))


@pytest.mark.parametrize("name", classes_of_schedulers())
def test_no_scheduler_passes_for_another(name, pixel_pipeline):
    """Its noise is that which its own class computes, or it is refused by its name."""
    import diffusers

    own = getattr(diffusers, name)
    try:
        config = json.loads(own().to_json_string()) | {"_class_name": name}
        alphas = getattr(own(), "alphas_cumprod", None)
    except Exception:  # an optional package, or arguments without defaults
        config, alphas = {"_class_name": name}, None
    if name not in _OF_BETAS or alphas is None:
        with pytest.raises(UserError, match=name):
            DiffusersSchedule(config, where=str(pixel_pipeline))
        return
    schedule = DiffusersSchedule(config, where=str(pixel_pipeline))
    torch.testing.assert_close(torch.tensor(schedule.alphas**2), alphas.double(), rtol=1e-6, atol=0)
    spacing = own().config.get("timestep_spacing", "leading")
    assert schedule._ddim.config.timestep_spacing == spacing
    clips = own().config.get("clip_sample", False) and not name.startswith("CogVideoX")  # their steps do not read it
    assert schedule._ddim.config.clip_sample == clips


@pytest.mark.parametrize("name", ["sigmoid", "laplace"])
def test_betas_that_ddim_has_no_name_for_are_the_class_s_own(name):
    config = {"_class_name": "DDPMScheduler", "beta_schedule": name, "num_train_timesteps": 100}
    schedule = DiffusersSchedule(config)
    expected = DDPMScheduler(beta_schedule=name, num_train_timesteps=100).alphas_cumprod
    torch.testing.assert_close(torch.tensor(schedule.alphas**2), expected.double(), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("spacing", ["trailing", "linspace"])
def test_v_models_of_zero_terminal_snr_start_at_pure_noise(with_scheduler, spacing):
    settings = {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction", "timestep_spacing": spacing}
    directory = with_scheduler(**settings)
    model = load_model(directory)
    assert model.schedule.is_pure_noise(999)
    probe = probe_of(model, 3.0, 7)
    scheduler = DDIMScheduler.from_config(as_its_pipeline_reads_it(directory, with_scheduler.family))
    wanted = states_of_diffusers(model, probe.evaluator.items.conditions, scheduler, probe.noise, 3.0, 7)
    assert probe.timesteps == scheduler.timesteps.tolist()
    torch.testing.assert_close(probe.trajectory().clean(), wanted[-1], rtol=1e-3, atol=1e-4)
    assert probe.difference(probe.noise, 999).abs().max() > 0


@pytest.mark.parametrize("steps", [pytest.param(4, marks=pytest.mark.slow), 7])
@pytest.mark.parametrize("name", SETTINGS)
def test_every_step_is_the_scheduler_s_own(with_scheduler, name, steps):
    directory = with_scheduler(**SETTINGS[name])
    model = load_model(directory)
    probe = probe_of(model, 3.0, steps)
    trajectory = probe.trajectory()
    scheduler = DDIMScheduler.from_config(as_its_pipeline_reads_it(directory, with_scheduler.family))
    wanted = states_of_diffusers(model, probe.evaluator.items.conditions, scheduler, probe.noise, 3.0, steps)
    assert trajectory.timesteps == scheduler.timesteps.tolist()
    for index, state in enumerate(wanted):
        torch.testing.assert_close(trajectory.state(index), state, rtol=1e-3, atol=1e-4 * float(state.abs().max()))


def test_a_scheduler_of_another_class_is_read_with_its_settings(with_scheduler):
    """DDPM has no steps_offset and no set_alpha_to_one; what it has holds."""
    config = dict(DDPMScheduler(clip_sample=True, clip_sample_range=0.4, timestep_spacing="trailing").config)
    lacking = ("steps_offset", "set_alpha_to_one")
    model = load_model(with_scheduler(lacking, **config | {"_class_name": "DDPMScheduler"}))
    probe = probe_of(model, 2.0, 4)
    mended = {"clip_sample": False, "steps_offset": 1} if with_scheduler.family == "latent" else {}
    scheduler = DDIMScheduler.from_config(config | mended)
    wanted = states_of_diffusers(model, probe.evaluator.items.conditions, scheduler, probe.noise, 2.0, 4)
    torch.testing.assert_close(probe.trajectory().clean(), wanted[-1], rtol=1e-3, atol=1e-4)


def test_clipping_moves_trajectories_and_no_score_at_a_state(with_scheduler):
    clipped, free = (load_model(with_scheduler(clip_sample=value, clip_sample_range=0.2)) for value in (True, False))
    probes = [probe_of(model, 3.0, 4) for model in (clipped, free)]
    t = probes[0].timesteps[0]
    torch.testing.assert_close(*(probe.score(probe.noise, t, "cond") for probe in probes), rtol=0, atol=0)
    first, second = (probe.trajectory().state(1) for probe in probes)
    moved = float((first - second).abs().max())
    assert moved == 0 if with_scheduler.family == "latent" else moved > 0.1


def test_a_silent_configuration_clips_pixels_and_no_latents(with_scheduler):
    """DDIM of diffusers takes true; a pipeline of latents sets it false, for latents have no range."""
    schedule = load_model(with_scheduler(lacking=("clip_sample",))).schedule
    x0 = torch.tensor([[-3.0, 0.5, 2.0]])
    expected = x0.clamp(-1, 1) if with_scheduler.family == "pixel" else x0
    torch.testing.assert_close(schedule.limited(x0), expected)


def test_what_a_pipeline_of_latents_would_override_is_said(with_scheduler):
    usual = load_model(with_scheduler())
    assert usual.remarks() == ()
    said = load_model(with_scheduler(clip_sample=True, steps_offset=0)).remarks()
    if with_scheduler.family == "latent":
        assert [("clip_sample" in one, "steps_offset, 0" in one) for one in said] == [(True, False), (False, True)]
    else:
        assert said == ()


def test_each_sample_is_thresholded_by_itself():
    schedule = DiffusersSchedule({"thresholding": True, "sample_max_value": 5.0, "dynamic_thresholding_ratio": 1.0})
    x0 = torch.tensor([[[[4.0, -2.0]]], [[[0.5, -0.25]]]])
    torch.testing.assert_close(schedule.limited(x0), torch.tensor([[[[1.0, -0.5]]], [[[0.5, -0.25]]]]))


REFUSED = {
    "flow": ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "FlowMatchEulerDiscreteScheduler"),
    "edm": ({"_class_name": "EDMEulerScheduler"}, "EDMEulerScheduler"),
    "unknown class": ({"_class_name": "OwnScheduler"}, "OwnScheduler"),
    "karras": ({"_class_name": "EulerDiscreteScheduler", "use_karras_sigmas": True}, "use_karras_sigmas"),
    "flow sigmas": ({"_class_name": "DPMSolverMultistepScheduler", "use_flow_sigmas": True}, "use_flow_sigmas"),
    "spacing": ({"timestep_spacing": "sideways"}, "timestep_spacing is 'sideways'"),
    "betas": ({"beta_schedule": "sideways"}, "sideways"),
    "text for a switch": ({"clip_sample": "false"}, "clip_sample is 'false'"),
    "number for a switch": ({"thresholding": 1}, "thresholding is 1"),
    "one beta": ({"trained_betas": 0.5}, "trained_betas is no list"),
    "beta 0": ({"trained_betas": 0}, "trained_betas is no list"),
    "a range beyond all floats": ({"clip_sample_range": 10**400}, "clip_sample_range is 1000"),
    "no range": ({"clip_sample_range": 0.0}, "clip_sample_range is 0.0"),
    "ratio": ({"dynamic_thresholding_ratio": 1.5}, "dynamic_thresholding_ratio is 1.5"),
    "offset": ({"steps_offset": -1}, "steps_offset is -1"),
    "length": ({"num_train_timesteps": 0}, "num_train_timesteps is 0"),
    "zero terminal SNR": ({"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_honoured_is_refused_by_name(with_scheduler, name):
    settings, words = REFUSED[name]
    directory = with_scheduler(**settings)
    with pytest.raises(UserError) as caught:
        load_model(directory)
    message = str(caught.value)
    assert words in message
    assert str(directory) in message
    assert "\n" not in message
