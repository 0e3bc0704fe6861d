"""Names of the models that ship with memdet; imports no torch."""

from __future__ import annotations

from memdet.io_utils import weights_root
from memdet.models.closed_form.catalogue import CLOSED_FORM

zoo_directory = weights_root  # the name that it had


def model_names() -> list[str]:
    """Closed-form and planted models that ship with memdet, sorted.

    Example:
        >>> model_names()[:2]
        ['fashion-multi', 'fashion-pixel']
    """
    planted = [path.name for path in weights_root().iterdir() if (path / "model_index.json").is_file()]
    return sorted([*CLOSED_FORM, *planted])
