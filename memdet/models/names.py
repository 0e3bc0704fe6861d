"""Names of the models that ship with memdet; imports no torch."""

from __future__ import annotations

from memdet.io_utils import weights_directory
from memdet.models.closed_form.catalogue import CLOSED_FORM

zoo_directory = weights_directory  # the name that it had


def model_names() -> list[str]:
    """Closed-form and planted models that ship with memdet, sorted.

    Example:
        >>> model_names()[:2]
        ['fashion-multi', 'fashion-pixel']
    """
    planted = [path.name for path in weights_directory().iterdir() if (path / "model_index.json").is_file()]
    return sorted([*CLOSED_FORM, *planted])
