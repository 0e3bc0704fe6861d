"""A model around another one: everything is passed on, so that a subclass says only what it does differently."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from memdet.errors import UserError
from memdet.models.base import ScoreModel
from memdet.models.condition import Condition
from memdet.models.diffusers.recording import AttentionLayer


class WrappedModel(ScoreModel):
    """Passes every public member of :class:`ScoreModel` on to another model.

    :meth:`eps` and :meth:`score` alone are the wrapper's own: they rest on its :meth:`predict`. What the inner model
    computes on the way, attention say, rests on the inner :meth:`predict`. Attributes follow those of the inner model
    until the wrapper sets its own.

    Args:
        inner: What is wrapped.

    Raises:
        UserError: It is no score model.

    Example:
        >>> from memdet.models import load_model
        >>> WrappedModel(load_model("mixture-2d")).latent_shape
        (2,)
    """

    def __init__(self, inner: ScoreModel) -> None:
        if not isinstance(inner, ScoreModel):
            raise UserError(f"a score model can be wrapped, not {type(inner).__name__}; memdet.load_model loads one")
        self.inner = inner

    if not TYPE_CHECKING:  # a type checker reads the annotations of ScoreModel

        def __getattr__(self, name: str) -> Any:
            """Attributes of the inner model: name, latent_shape, schedule, prediction_type, device, dtype."""
            if name.startswith("_") or name == "inner":  # a wrapper that is not made yet, when it is copied
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            return getattr(self.inner, name)

    @property
    def takes_prompts(self) -> bool:  # type: ignore[override]  # of a class elsewhere; here the inner model says it
        """Whether conditions are text."""
        return self.inner.takes_prompts

    def embed(self, conditions: Sequence[str]) -> Condition:
        """As the inner model."""
        return self.inner.embed(conditions)

    def embed_null(self) -> Condition:
        """As the inner model."""
        return self.inner.embed_null()

    def predict(self, x: Tensor, t: int, condition: Condition) -> Tensor:
        """As the inner model."""
        return self.inner.predict(x, t, condition)

    def guided(self, cond: Tensor, null: Tensor, scale: float) -> Tensor:
        """As the inner model."""
        return self.inner.guided(cond, null, scale)

    def network_time(self, x: Tensor, t: int) -> Tensor:
        """As the inner model."""
        return self.inner.network_time(x, t)

    def network(self, x: Tensor, t: Tensor, **condition: Tensor) -> Tensor:
        """As the inner model."""
        return self.inner.network(x, t, **condition)

    def fingerprint(self) -> str:
        """As the inner model: a subclass that gives another score gives another fingerprint."""
        return self.inner.fingerprint()

    def files(self) -> dict[str, str]:
        """As the inner model."""
        return self.inner.files()

    def decode(self, x0: Tensor) -> Tensor:
        """As the inner model."""
        return self.inner.decode(x0)

    def encode(self, images: Tensor) -> Tensor:
        """As the inner model."""
        return self.inner.encode(images)

    def training_images(self) -> Tensor:
        """As the inner model."""
        return self.inner.training_images()

    def attention(self, x: Tensor, t: int, condition: Condition) -> tuple[Tensor, list[AttentionLayer]]:
        """As the inner model."""
        return self.inner.attention(x, t, condition)

    def end_positions(self, conditions: Sequence[str]) -> Tensor:
        """As the inner model."""
        return self.inner.end_positions(conditions)

    def vocabulary(self) -> Sequence[str]:
        """As the inner model."""
        return self.inner.vocabulary()

    def cross_attention(self) -> Mapping[str, nn.Module]:
        """As the inner model."""
        return self.inner.cross_attention()

    def are_cut(self, conditions: Sequence[str]) -> list[bool]:
        """As the inner model."""
        return self.inner.are_cut(conditions)

    def remarks(self) -> tuple[str, ...]:
        """As the inner model."""
        return self.inner.remarks()

    def bottleneck(self, x: Tensor, t: int, condition: Condition) -> tuple[Tensor, Tensor]:
        """As the inner model."""
        return self.inner.bottleneck(x, t, condition)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.inner!r})"


def layers(model: ScoreModel) -> list[ScoreModel]:
    """The model and all that it is wrapped around, the outermost first."""
    found = [model]
    while isinstance(found[-1], WrappedModel):
        found.append(found[-1].inner)
    return found
