"""How many items are computed at once."""

from __future__ import annotations

import math

from memdet.models.base import ScoreModel
from memdet.models.closed_form.base import ClosedForm
from memdet.running.options import RunOptions

ELEMENTS_ON_CPU = 2**14  # latent numbers in a batch of a network
ELEMENTS_ELSEWHERE = 2**19  # 32 items of Stable Diffusion; what does not fit is halved
ELEMENTS_OF_CLOSED_FORM = 2**18
LARGEST_BATCH = 512


def automatic_batch(model: ScoreModel) -> int:
    """How many items of a model are computed at once, by the size of a latent and the kind of device alone.

    Args:
        model: A closed form, or a network on its device.
    """
    if isinstance(model, ClosedForm):
        elements = ELEMENTS_OF_CLOSED_FORM
    else:
        elements = ELEMENTS_ON_CPU if model.device.type == "cpu" else ELEMENTS_ELSEWHERE
    return max(1, min(LARGEST_BATCH, elements // math.prod(model.latent_shape)))


def batch_of(options: RunOptions, model: ScoreModel) -> int:
    """Items at once that a run plans for a model."""
    return options.batch_size or automatic_batch(model)
