"""The network calls that a detector makes, recorded, and made again with nothing around them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torch.autograd import forward_ad

from memdet.curvature import JacobianOperator
from memdet.models import ScoreModel
from memdet.models.condition import Condition
from memdet.models.wrapped import layers

Kind = Literal["forward", "graph", "jvp", "vjp"]


@dataclass(frozen=True)
class Call:
    """One call of the network.

    Attributes:
        kind: ``forward`` keeps no graph, ``graph`` does, ``jvp`` carries a tangent, ``vjp`` goes back over the last
            graph.
        rows: Of the batch.
    """

    kind: Kind
    rows: int


@contextmanager
def recorded_calls(model: ScoreModel) -> Iterator[list[Call]]:
    """Inside, every network call of the model is noted in the list that this yields."""
    calls: list[Call] = []
    # What a wrapper does not change, attention say, it asks of the model inside.
    models = layers(model)
    inside = False

    def noting(predict: Callable[[Tensor, int, Condition], Tensor]) -> Callable[[Tensor, int, Condition], Tensor]:
        def noted(x: Tensor, t: int, condition: Condition) -> Tensor:
            nonlocal inside
            if inside:
                return predict(x, t, condition)
            inside = True
            try:
                output = predict(x, t, condition)
            finally:
                inside = False
            rows = len(x)
            if any(map(_has_tangent, (x, *condition.tensors.values()))):
                calls.append(Call("jvp", rows))
                return output
            calls.append(Call("graph" if output.requires_grad else "forward", rows))
            if output.requires_grad:
                output.register_hook(lambda _: calls.append(Call("vjp", rows)))  # type: ignore[no-untyped-call]  # torch is not annotated
            return output

        return noted

    for one in models:
        one.predict = noting(one.predict)  # type: ignore[method-assign, assignment]  # a method of one object alone
    try:
        yield calls
    finally:
        for one in models:
            del one.predict


def replay(calls: Sequence[Call], model: ScoreModel, condition: Condition) -> Callable[[], None]:
    """A function that makes the calls again, of the same kinds and rows in the same order, at random points.

    Args:
        calls: As recorded.
        model: Whose network is called.
        condition: Encoded conditions; repeated where a call has more rows.
    """
    t = model.schedule.timesteps(50)[0]
    largest = max((call.rows for call in calls), default=1)
    conditions = condition.rows(torch.arange(largest, device=model.device) % condition.size)
    generator = torch.Generator("cpu").manual_seed(0)
    x, v = (
        torch.randn(largest, *model.latent_shape, generator=generator, dtype=torch.float32, device="cpu").to(
            model.device, model.dtype
        )
        for _ in range(2)
    )

    def run() -> None:
        graph: tuple[Tensor, Tensor] | None = None
        for call in calls:
            at, condition = x[: call.rows], conditions.rows(slice(call.rows))
            if call.kind == "forward":
                with torch.no_grad():
                    model.predict(at, t, condition)
            elif call.kind == "graph":
                graph = None
                leaf = at.detach().requires_grad_(True)
                with torch.enable_grad():
                    graph = (leaf, model.predict(leaf, t, condition))
            elif call.kind == "jvp":
                network = partial(_predict, model, t, condition)
                JacobianOperator(network, at, check=False).mv(v[: call.rows])
            elif graph is not None:
                leaf, output = graph
                torch.autograd.grad(output, leaf, v[: call.rows], retain_graph=True)

    return run


def _predict(model: ScoreModel, t: int, condition: Condition, x: Tensor) -> Tensor:
    return model.predict(x, t, condition)


def _has_tangent(tensor: Tensor) -> bool:
    if not tensor.is_floating_point():
        return False
    try:
        dual = forward_ad.unpack_dual(tensor)  # type: ignore[no-untyped-call]  # torch is not annotated
    except RuntimeError:  # no level of forward AD is open
        return False
    return dual.tangent is not None
