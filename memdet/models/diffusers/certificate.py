"""A model read from a pipeline's directory, held against the pipeline: predictions, and the end of a trajectory."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import platformdirs
import torch
from torch import Tensor

from memdet.errors import NotApplicableError, UserError
from memdet.io_utils import write_text
from memdet.models.base import ScoreModel
from memdet.models.condition import Condition
from memdet.models.diffusers.captured import CapturedModel
from memdet.models.diffusers.families.base import Family
from memdet.models.diffusers.flow_config import of_first_order
from memdet.models.diffusers.quiet import quiet
from memdet.models.diffusers.stable_diffusion import StableDiffusionModel
from memdet.models.prediction_type import eps_from_output, x0_from_output

STEPS, GUIDANCE, SEED = 6, 3.0, 0
PROMPTS = ("a photograph of a red coat", "two boats on a lake")
CLASSES = ("0", "1")
BOUNDS = {torch.float64: 1e-6, torch.float32: 1e-3, torch.float16: 5e-2, torch.bfloat16: 1e-1}
_DETERMINISTIC = (
    "CogVideoXDDIMScheduler",
    "DDIMScheduler",
    "EulerDiscreteScheduler",
    "FlowMatchEulerDiscreteScheduler",
)
_REPLACED = {"CogVideoXDPMScheduler": "CogVideoXDDIMScheduler"}  # by a deterministic one; DDIM where nothing is said
_SD = Family(name="sd", pipelines=("StableDiffusionPipeline",), denoiser="unet", latent="sample")


@dataclass(frozen=True)
class Certificate:
    """How far a model is from the pipeline that it was read from.

    Attributes:
        prediction: Largest difference of a network output at the first, a middle and the last step of the pipeline's
            own loop, over both branches, relative to the largest output.
        trajectory: Largest difference of the latents at the end, relative to the largest of them; None where the
            pipeline takes no starting latents.
        bound: Up to which both are taken for rounding.
    """

    prediction: float
    trajectory: float | None
    bound: float

    @property
    def passed(self) -> bool:
        """Whether both are rounding; NaN is not."""
        return self.prediction <= self.bound and (self.trajectory is None or self.trajectory <= self.bound)

    def __str__(self) -> str:
        end = "not compared" if self.trajectory is None else f"{self.trajectory:.1e}"
        return f"predictions differ by {self.prediction:.1e}, ends of trajectories by {end}; allowed {self.bound:.0e}"


def certify(model: ScoreModel) -> Certificate:
    """Run a model's own pipeline for a few steps, and the model beside it.

    Args:
        model: Read from a pipeline's directory.

    Raises:
        NotApplicableError: It is of no pipeline whose call takes prompts or classes.
        UserError: The pipeline cannot be loaded.
    """
    if isinstance(model, CapturedModel):
        pipeline, family = model.pipeline, model.family
    elif isinstance(model, StableDiffusionModel):
        pipeline, family = model.load_pipeline(), _SD
    else:
        raise NotApplicableError(f"{model.name} was not read from a pipeline that takes prompts or class numbers")
    conditions = list(PROMPTS if family.takes_prompts else CLASSES)
    noise = torch.randn(2, *model.latent_shape, generator=torch.Generator().manual_seed(SEED), dtype=torch.float32)
    start = noise.to(model.device, model.dtype) * model.schedule.start_scale(STEPS)
    with quiet(), torch.no_grad():
        told = family.told(pipeline, conditions) | family.told_scale(GUIDANCE)
        calls, end = _loop(pipeline, family, told, start if family.takes_prompts else None)
        return Certificate(
            _of_predictions(model, calls, conditions, family.null_first),
            None if end is None else _relative(_end(model, start, conditions), end),
            BOUNDS[model.dtype],
        )


def require_certificate(model: ScoreModel) -> None:
    """Refuse a model of a family that does not agree with its pipeline.

    A certificate is kept in the user's cache: it is made once for the files of a model, a dtype, and versions of memdet
    and diffusers. Stable Diffusion 1 and 2, pixel models and closed forms are held against others in memdet's tests.

    Args:
        model: Any.

    Raises:
        UserError: It does not agree; both differences are named.
    """
    if not isinstance(model, CapturedModel):
        return
    versions = [metadata.version(package) for package in ("memdet", "diffusers")]
    what = json.dumps([model.fingerprint(), str(model.dtype), *versions])
    folder = Path(platformdirs.user_cache_dir("memdet")) / "certificates"
    file = folder / f"{hashlib.sha256(what.encode()).hexdigest()}.json"
    if file.is_file():
        return
    found = certify(model)
    if not found.passed:
        raise UserError(
            f"{model.name} is not what its own pipeline computes: {found}. Its scores would be those of another model: "
            "report its pipeline and scheduler, or bring its network by ScoreModel.from_callable"
        )
    with suppress(OSError):  # a cache that cannot be written is none
        folder.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(asdict(found)))


def _loop(
    pipeline: Any, family: Family, told: dict[str, Any], start: Tensor | None
) -> tuple[list[tuple[Tensor, Tensor]], Tensor | None]:
    """What the pipeline gives its network and gets from it, call for call, and the latents at the end."""
    network, calls = getattr(pipeline, family.denoiser), []

    def keep(module: Any, arguments: Any, named: dict[str, Any], output: Any) -> None:
        x = arguments[0] if arguments else named[family.latent]
        sign = -1 if family.negated else 1
        calls.append((x.detach().clone(), sign * output[0].detach().clone()))

    own = pipeline.scheduler
    pipeline.scheduler = _deterministic(own, in_doubles=network.dtype == torch.float64)
    pipeline.set_progress_bar_config(disable=True)
    hook = network.register_forward_hook(keep, with_kwargs=True)
    latents = {} if start is None else {"latents": start.clone(), "output_type": "latent"}
    try:
        found = pipeline(**told, **latents, num_inference_steps=STEPS, generator=torch.Generator().manual_seed(SEED))[0]
    finally:
        hook.remove()
        pipeline.scheduler = own
    return calls, None if start is None else found


def _deterministic(scheduler: Any, *, in_doubles: bool) -> Any:
    """A copy of a pipeline's own scheduler, or a deterministic one of first order at the same noise levels.

    Its alphas are told in float32. ``in_doubles`` has it compute with the same numbers in float64, or its own rounding,
    a hundred times enlarged where little of the clean sample is left, would stand for a difference.
    """
    import diffusers

    if (told_a_flow := of_first_order(scheduler)) is not None:
        return told_a_flow
    name = type(scheduler).__name__
    if name in _DETERMINISTIC:
        own = deepcopy(scheduler)
    else:
        own = getattr(diffusers, _REPLACED.get(name, "DDIMScheduler")).from_config(scheduler.config)
    for table in ("alphas_cumprod", "final_alpha_cumprod") if in_doubles else ():
        if hasattr(own, table):
            setattr(own, table, getattr(own, table).double())
    return own


def _of_predictions(
    model: ScoreModel, calls: Sequence[tuple[Tensor, Tensor]], conditions: Sequence[str], null_first: bool | None
) -> float:
    """Largest relative difference at three steps, of each part of a step with the branch that is evaluated there.

    Where nobody knows which branch comes first, a part is compared with the one that fits; a swap of the two is then
    left to the trajectory.
    """
    branches = [model.embed(conditions)]
    with suppress(NotApplicableError):
        branches.insert(0 if null_first else 1, model.embed_null())
    timesteps, worst = model.schedule.timesteps(STEPS), 0.0
    a_step, rows = len(calls) // STEPS, len(conditions)
    for index in (0, STEPS // 2, STEPS - 1):
        parts = [
            (x[start : start + rows], output[start : start + rows])
            for x, output in calls[index * a_step : (index + 1) * a_step]
            for start in range(0, len(x), rows)
        ]
        if len(parts) != len(branches):
            return math.inf
        for place, (x, wanted) in enumerate(parts):
            compared = branches if null_first is None else [branches[place]]
            found = [model.predict(x, timesteps[index], branch) for branch in compared]
            worst = max(worst, min(_relative(one, wanted[:, : one.shape[1]]) for one in found))
    return worst


def _end(model: ScoreModel, x: Tensor, conditions: Sequence[str]) -> Tensor:
    """The end of the model's own guided trajectory."""
    schedule, kind = model.schedule, model.prediction_type
    cond = model.embed(conditions)
    null: Condition | None = None
    with suppress(NotApplicableError):
        null = model.embed_null()
    for t, (alpha, sigma) in zip(schedule.timesteps(STEPS), schedule.landings(STEPS), strict=True):
        output = model.predict(x, t, cond)
        if null is not None:
            other = model.predict(x, t, null)
            output = model.guided(output, other, GUIDANCE)
        levels = schedule.alpha(t), schedule.sigma(t), kind
        x = alpha * schedule.limited(x0_from_output(output, x, *levels)) + sigma * eps_from_output(output, x, *levels)
    return x


def _relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())
