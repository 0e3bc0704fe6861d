"""How a model is read, and whether it agrees with the pipeline that it came from: one finding a line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from memdet.doctor import Finding
from memdet.errors import NotApplicableError
from memdet.models import ClosedForm, ScoreModel, load_model
from memdet.models.load_options import LoadOptions
from memdet.models.prediction_evidence import doubt_of
from memdet.samplesets.fetch import Fetcher

if TYPE_CHECKING:
    from memdet.models.diffusers.certificate import Certificate

_CONDITION = "a photograph of a red coat"
_STEPS = 50


def examine_model(
    reference: str,
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    options: LoadOptions | None = None,
    offline: bool = False,
) -> Iterator[Finding]:
    """Load a model and say what memdet makes of it, cheap things first.

    Args:
        reference: As for :func:`memdet.load_model`.
        device: Where it computes.
        dtype: Of networks and their inputs.
        options: Revision, subfolder, base, LoRA and textual inversion.
        offline: Take hub models from the cache alone.

    Yields:
        Findings; ``problem`` where scores would be wrong.

    Raises:
        UserError: memdet cannot load it: why, and how to mend it.
    """
    model = load_model(reference, device=device, dtype=dtype, fetcher=Fetcher(offline=offline), options=options)
    shape = " x ".join(map(str, model.latent_shape))
    yield Finding("model", "ok", f"{type(model).__name__} {model.name}, latents {shape}, {model.device}, {dtype}")
    for remark in model.remarks():
        yield Finding("remark", "warning", remark)
    yield _prediction(model)
    yield from _first_step(model)
    yield _null_branch(model)
    yield Finding("files", "ok", _files(model))
    yield _certificate(model)


def _prediction(model: ScoreModel) -> Finding:
    stated = f"the network predicts {model.prediction_type}"
    if isinstance(model, ClosedForm):
        return Finding("prediction", "ok", f"a closed form in the units of {model.prediction_type}")
    if (doubt := doubt_of(model, _CONDITION)) is not None:
        return Finding("prediction", "problem", str(doubt), "state what the network predicts")
    return Finding("prediction", "ok", f"{stated}; nothing that it answers speaks against that")


def _first_step(model: ScoreModel) -> Iterator[Finding]:
    schedule = model.schedule
    steps = min(_STEPS, len(schedule.alphas))
    first, last = schedule.timesteps(steps)[0], schedule.timesteps(steps)[-1]
    levels = [f"t = {t:g} (alpha {schedule.alpha(t):.4g}, sigma {schedule.sigma(t):.4g})" for t in (first, last)]
    yield Finding("trajectory", "ok", f"{steps} steps, from {levels[0]} to {levels[1]}")
    if schedule.is_pure_noise(first):
        yield Finding(
            "first step",
            "warning",
            "pure noise: detectors of one branch, and of Jacobians, look at the second step where no time is given",
        )
    if schedule.start_scale(steps) != 1:
        yield Finding(
            "starting noise", "ok", f"scaled by {schedule.start_scale(steps):.4g}: samples are not scaled down"
        )


def _null_branch(model: ScoreModel) -> Finding:
    try:
        found = model.embed_null()
    except NotApplicableError as error:
        return Finding("null branch", "warning", f"{error}; detectors of differences are not applicable")
    return Finding("null branch", "ok", f"there is one: {found}")


def _files(model: ScoreModel) -> str:
    found = model.files()
    names = ", ".join(list(found)[:4]) + (", ..." if len(found) > 4 else "")
    return f"{len(found)} decide what the model answers ({names})" if found else "none; the model is code"


def _certificate(model: ScoreModel) -> Finding:
    """Whether memdet's reading gives what the pipeline gives."""
    from memdet.models.diffusers.certificate import certify

    try:
        found: Certificate = certify(model)
    except NotApplicableError as error:
        return Finding("certificate", "ok", f"not applicable: {error}")
    if found.passed:
        return Finding("certificate", "ok", f"the model is the pipeline: {found}")
    return Finding(
        "certificate",
        "problem",
        f"the model is not the pipeline: {found}",
        "use no scores of it, and report the model's pipeline and scheduler",
    )
