"""Names of the closed-form models, and where each is built. Imports no torch: whoever asks for names waits for nothing.

They compute in float64, whatever the networks of a run compute in.
"""

from __future__ import annotations

CLOSED_FORM = {
    "mixture-2d": "memdet.models.closed_form.mixture_2d:mixture_2d",
    "oracle-16k": "memdet.models.closed_form.oracle_16k:oracle_16k",
}
"""Of each name the function that builds the model on a ``torch.device``, as ``module:function``."""
