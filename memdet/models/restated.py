"""A model of which a user says what its network predicts, against its files."""

from __future__ import annotations

import hashlib

from memdet.errors import UserError
from memdet.models.base import ScoreModel
from memdet.models.prediction_type import PREDICTION_TYPES, PredictionType
from memdet.models.wrapped import WrappedModel


class Restated(WrappedModel):
    """Another prediction type for the same network; its fingerprint is another one.

    Args:
        inner: As its files have it.
        kind: What the network predicts.

    Raises:
        UserError: No prediction type.

    Example:
        >>> from memdet.models import load_model
        >>> Restated(load_model("mixture-2d"), "v").prediction_type
        'v'
    """

    def __init__(self, inner: ScoreModel, kind: str) -> None:
        super().__init__(inner)
        known = {name: name for name in PREDICTION_TYPES}
        if kind not in known:
            raise UserError(
                f"`prediction_type` is {kind!r}; known: {', '.join(known)}", parameters=("prediction_type",)
            )
        self.prediction_type: PredictionType = known[kind]

    def fingerprint(self) -> str:
        """SHA-256 of the inner model's and of the prediction type."""
        return hashlib.sha256(f"{self.inner.fingerprint()} predicts {self.prediction_type}".encode()).hexdigest()

    def remarks(self) -> tuple[str, ...]:
        """Those of the inner model, and what was stated."""
        stated = f"read as predicting {self.prediction_type}, as was stated; its files say {self.inner.prediction_type}"
        return (*self.inner.remarks(), stated)
