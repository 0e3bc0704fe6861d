"""Names of the models that ship with memdet; imports no torch."""

from __future__ import annotations

from memdet.io_utils import weights_root
from memdet.models.closed_form.catalogue import CLOSED_FORM

zoo_directory = weights_root  # the name that it had
PLANTED_FILES = ("model_index.json", "pytorch_lora_weights.safetensors")
"""What lies in the folder of a planted model: a pipeline, or a LoRA on another one."""


def model_names() -> list[str]:
    """Closed-form and planted models that ship with memdet, sorted.

    Example:
        >>> model_names()[:2]
        ['fashion-multi', 'fashion-pixel']
    """
    planted = {path.parent.name for name in PLANTED_FILES for path in weights_root().glob(f"*/{name}")}
    return sorted([*CLOSED_FORM, *planted])
