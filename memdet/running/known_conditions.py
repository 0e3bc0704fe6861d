"""What a model cannot answer of a sample set, found before anything is scored: conditions, and so many steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from memdet.errors import UserError
from memdet.models import ScoreModel
from memdet.models.own_network import CallableModel
from memdet.models.wrapped import layers
from memdet.samplesets import SampleSet

AT_ONCE = 256  # conditions, as an encoder of a user's own may be large


def check_conditions(sample_sets: Sequence[SampleSet], models: Mapping[str, ScoreModel]) -> None:
    """Refuse conditions that models do not know, and longer trajectories than their schedules have.

    It is said once, where every one of their rows would be an error.

    Text encoders of pipelines read any text, and are not asked.

    Args:
        sample_sets: Of a run.
        models: Of their items, by name.

    Raises:
        UserError: There is one.
    """
    for sample_set in sample_sets:
        for name, part in sample_set.items.groupby("model", sort=False):
            model = models[str(name)]
            _check_steps(sample_set, model)
            if model.takes_prompts and not isinstance(layers(model)[-1], CallableModel):
                continue
            conditions = part["condition"].unique().tolist()
            for start in range(0, len(conditions), AT_ONCE):
                _check(sample_set.id, model, conditions[start : start + AT_ONCE])


def _check_steps(sample_set: SampleSet, model: ScoreModel) -> None:
    try:
        model.schedule.timesteps(sample_set.protocol.steps)
    except UserError as error:
        raise UserError(
            f"sample set {sample_set.id} on {model.name}: {error}; ask for fewer `steps`", parameters=("steps",)
        ) from error


def _check(sample_set: str, model: ScoreModel, conditions: Sequence[str]) -> None:
    try:
        model.embed(conditions)
    except UserError as error:
        raise UserError(f"sample set {sample_set}: {error}", parameters=error.parameters) from error
    except Exception as error:  # of a network of a user's own
        reason = next(iter(str(error).strip().splitlines()), "")
        some = ", ".join(map(repr, conditions[:3])) + (", ..." if len(conditions) > 3 else "")
        raise UserError(
            f"sample set {sample_set}: `embed` of {model.name} fails for {some} ({type(error).__name__}: {reason})"
        ) from error
