"""What a mitigation asks of a model: predictions with their gradients, steps of the trajectory, and the price."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from memdet.errors import NotApplicableError
from memdet.models import ScoreModel
from memdet.models.condition import Condition
from memdet.models.prediction_type import eps_from_output, relative_score, x0_from_output
from memdet.probing import Context, Items, Probe, SeedMemory
from memdet.probing.trajectory import stepped

DIMENSIONS = 4 * 64 * 64
"""Of the latents of Stable Diffusion, for which the published thresholds of norms were made."""
Scale = float | Callable[[int], float]
"""Guidance: one number, or the number of each step."""


class Price:
    """What the items of a batch have cost so far, each ``[batch]``.

    Attributes:
        forwards: Evaluations of one branch.
        jvps, vjps: Products with a Jacobian in forward and in reverse mode, one for each forward that a gradient goes
            back through.
    """

    def __init__(self, items: int) -> None:
        self.forwards, self.jvps, self.vjps = (np.zeros(items) for _ in range(3))
        self.on_graph: NDArray[np.float64] = np.zeros(items)


@dataclass(frozen=True, eq=False)
class Whole:
    """One batch of items under one noise seed on one model.

    Attributes:
        probe: Draws the noise that detectors see too, and knows what is beside the model.
        captions: Of all tested items of the sample set, these among them, without labels.
        condition: Encoded conditions of the items, in rows.
        null: The encoded null condition, one row; None of a model without a null branch.
        price: What was paid.
        notes: What a user should know beside the generations.
    """

    probe: Probe
    captions: Sequence[str]
    condition: Condition
    null: Condition | None
    price: Price
    notes: list[str]


class Sampler:
    """Some items of a batch: what a mitigation generates from.

    Every evaluation is counted for the items that it is of, as detectors' are: a forward is one branch of one item, and
    a gradient costs a VJP for each forward that it goes back through. Text encoders and autoencoders cost nothing.

    Latents are ``[len(self), *latent_shape]``, and rows of whatever is asked belong to the items in this order.

    Args:
        whole: The batch.
        rows: Positions in it; the same may come several times, for several candidates of one item.
    """

    def __init__(self, whole: Whole, rows: Sequence[int]) -> None:
        self.whole, self.rows = whole, list(rows)

    @classmethod
    def of(
        cls,
        model: ScoreModel,
        items: Items,
        context: Context,
        *,
        captions: Sequence[str] | None = None,
        dev: Items | None = None,
        memory: SeedMemory | None = None,
    ) -> Self:
        """A sampler of all items of a batch.

        Args:
            model: That generates.
            items: The batch; its labels are never shown.
            context: Protocol and seed.
            captions: Of all tested items; those of the batch if not given.
            dev: Items from which a method may take constants.
            memory: What the batches of the seed share, these constants among it; its own if None.
        """
        probe = Probe(model, items, context, dev=dev, memory=memory)
        with torch.no_grad():
            condition = model.embed(list(items.conditions))
            try:
                null = model.embed_null()
            except NotApplicableError:
                null = None
        shown = items.conditions if captions is None else captions
        return cls(Whole(probe, shown, condition, null, Price(len(items)), []), range(len(items)))

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model.name}, {len(self)} items, seed {self.seed})"

    def only(self, positions: Sequence[int] | Tensor) -> Self:
        """Some of these items; the same may come several times."""
        chosen = positions.tolist() if isinstance(positions, Tensor) else positions
        return type(self)(self.whole, [self.rows[position] for position in chosen])

    # What is generated, and how

    @property
    def model(self) -> ScoreModel:
        """The score model."""
        return self.whole.probe.model

    @property
    def seed(self) -> int:
        """Of the noise."""
        return self.whole.probe.seed

    @property
    def guidance(self) -> float:
        """Classifier-free guidance of the protocol; 1 of a model without a null branch, as pipelines generate."""
        return self.whole.probe.guidance if self.has_null else 1.0

    @property
    def captions(self) -> list[str]:
        """Condition of each item."""
        conditions = self.whole.probe.evaluator.items.conditions
        return [conditions[row] for row in self.rows]

    @property
    def ids(self) -> list[str]:
        """Name of each item."""
        names = self.whole.probe.evaluator.items.ids
        return [names[row] for row in self.rows]

    @property
    def prompts(self) -> list[str]:
        """Text of each item.

        Raises:
            NotApplicableError: Conditions are not text.
        """
        if not self.model.takes_prompts:
            raise NotApplicableError(f"the conditions of {self.model.name} are not text")
        return self.captions

    @property
    def timesteps(self) -> list[int]:
        """Of the protocol's trajectory, noisiest first."""
        return self.whole.probe.timesteps

    @property
    def has_null(self) -> bool:
        """Whether the model has a null branch."""
        return self.whole.null is not None

    def random(self, name: str) -> list[np.random.Generator]:
        """A generator an item, of the seed, the item and a name alone."""
        return [np.random.default_rng(_digest(name, self.seed, item)) for item in self.ids]

    def random_of_seed(self, name: str) -> np.random.Generator:
        """A generator of the seed and a name alone, the same for all items."""
        return np.random.default_rng(_digest(name, self.seed))

    def unit(self, power: int = 1) -> float:
        """By what a published threshold of a norm, or of its power, is multiplied here.

        Norms of latents grow with the root of their number; the papers' are those of :data:`DIMENSIONS`.
        """
        size: int = int(np.prod(self.model.latent_shape))
        return float((size / DIMENSIONS) ** (power / 2))

    def note(self, text: str) -> None:
        """Say something beside the generations that a user should know."""
        if text not in self.whole.notes:
            self.whole.notes.append(text)

    # Conditions

    @property
    def condition(self) -> Condition:
        """Encoded conditions, a row an item."""
        return self.whole.condition.rows(torch.tensor(self.rows, device=self.model.device))

    @property
    def null(self) -> Condition:
        """The encoded null condition, a row an item.

        Raises:
            NotApplicableError: The model has no null branch.
        """
        known = self.whole.null
        return (self.model.embed_null() if known is None else known).expand(len(self))

    def embedded(self, captions: Sequence[str]) -> Condition:
        """Other conditions, encoded."""
        with torch.no_grad():
            return self.model.embed(list(captions))

    def with_embedding(self, tensor: Tensor) -> Condition:
        """The conditions of these items with another embedding, a row an item.

        Raises:
            NotApplicableError: Conditions cannot be differentiated, as class numbers.
        """
        own = self.condition
        return replace(own, tensors={**own.tensors, self._embedding_name(): tensor})

    @property
    def embedding(self) -> Tensor:
        """What of the conditions can be differentiated, a row an item.

        Raises:
            NotApplicableError: Nothing, as of class numbers.
        """
        return self.condition[self._embedding_name()].detach()

    def _embedding_name(self) -> str:
        name = self.whole.condition.differentiable
        if name is None:
            raise NotApplicableError(f"the conditions of {self.model.name} are no embedding that can be changed")
        return name

    # What the model answers

    def start(self, draw: int = 0) -> Tensor:
        """Where the trajectory starts, x_T; draw 0 is what detectors see, others are independent of it."""
        return self.whole.probe.trajectory(guidance=1.0, draw=draw).state(0)[self.rows]

    def output(self, x: Tensor, t: int, condition: Condition) -> Tensor:
        """What the network returns. One forward; on a graph where the sample or the condition asks for a gradient."""
        recorded = x.requires_grad or any(tensor.requires_grad for tensor in condition.tensors.values())
        with torch.set_grad_enabled(recorded):
            value = self.model.predict(x, t, condition)
        np.add.at(self.whole.price.forwards, self.rows, 1)
        if recorded:
            np.add.at(self.whole.price.on_graph, self.rows, 1)
        return value

    def eps(self, x: Tensor, t: int, condition: Condition) -> Tensor:
        """Noise prediction. One forward."""
        return eps_from_output(self.output(x, t, condition), x, *self._levels(t), self.model.prediction_type)

    def clean_of(self, x: Tensor, t: int, output: Tensor) -> Tensor:
        """Clean sample that a network output predicts, as the scheduler goes on with it.

        Raises:
            NotApplicableError: Pure noise (alpha = 0), of a network that predicts noise.
        """
        if self.model.prediction_type == "eps":
            self.whole.probe.refuse_pure_noise(t)
        return self.model.schedule.limited(x0_from_output(output, x, *self._levels(t), self.model.prediction_type))

    def difference(self, x: Tensor, t: int, condition: Condition | None = None) -> Tensor:
        """``D = eps_c - eps_u``, in units of the network's output where that is no noise. Two forwards.

        See :meth:`memdet.probing.Probe.difference`.
        """
        cond, null = self.output(x, t, condition or self.condition), self.output(x, t, self.null)
        return self.difference_of(cond, null, t)

    def difference_of(self, cond: Tensor, null: Tensor, t: int) -> Tensor:
        """D of two network outputs."""
        difference = cond - null
        return -difference / self.model.schedule.sigma(t) if self.model.prediction_type == "x0" else difference

    def score_difference(self, x: Tensor, t: int) -> Tensor:
        """``s_D = s_c - s_u``, over alpha where the network predicts no noise: 0 at pure noise else. Two forwards."""
        sigma, kind = self.model.schedule.sigma(t), self.model.prediction_type
        cond, null = self.output(x, t, self.condition), self.output(x, t, self.null)
        return relative_score(cond, sigma, kind) - relative_score(null, sigma, kind)

    def begin_graph(self) -> None:
        """Let go of what was recorded and never differentiated, so that no later gradient pays for it."""
        self.whole.price.on_graph[np.unique(self.rows)] = 0

    def gradient(self, losses: Tensor, wrt: Tensor, keep: Tensor | None = None) -> Tensor:
        """Derivative of the sum of the losses of some items; the graph is gone afterwards.

        Args:
            losses: ``[len(self)]``.
            wrt: What to differentiate, a row an item.
            keep: Which items; all if not given. Of the others it is 0 and costs nothing.
        """
        kept = torch.ones_like(losses, dtype=torch.bool) if keep is None else keep
        (slope,) = torch.autograd.grad(losses[kept].sum(), wrt)
        paid = [row for row, is_kept in zip(self.rows, kept.tolist(), strict=True) if is_kept]
        price = self.whole.price
        own = np.unique(paid)
        price.vjps[own] += price.on_graph[own]
        self.begin_graph()
        return slope.detach()

    # The trajectory

    def guided(self, x: Tensor, t: int, scale: float, condition: Condition | None = None) -> Tensor:
        """Network output under guidance: 1 is the condition alone and 0 the null branch alone, at one forward each."""
        if scale == 0:
            return self.output(x, t, self.null)
        cond = self.output(x, t, condition or self.condition)
        return cond if scale == 1 else self.model.guided(cond, self.output(x, t, self.null), scale)

    def step(self, index: int, x: Tensor, output: Tensor) -> Tensor:
        """Where the step of this index leads, step for step as the pipeline's own scheduler."""
        landing = self.model.schedule.landings(len(self.timesteps))[index]
        with torch.no_grad():
            return stepped(self.model, x, output, self.timesteps[index], landing)

    def follow(
        self, x: Tensor, *, condition: Condition | None = None, scale: Scale | None = None, first: int = 0
    ) -> Tensor:
        """The clean sample at the end of the trajectory.

        Args:
            x: State before step ``first``.
            condition: Instead of the items' own.
            scale: Guidance, of each step by its index; the protocol's if not given.
            first: Index of the first step.
        """
        given = self.guidance if scale is None else scale
        for index in range(first, len(self.timesteps)):
            now = given(index) if callable(given) else given
            x = self.step(index, x, self.guided(x, self.timesteps[index], now, condition))
        return x

    def _levels(self, t: int) -> tuple[float, float]:
        return self.model.schedule.alpha(t), self.model.schedule.sigma(t)


def _digest(*key: str | int) -> int:
    return int.from_bytes(hashlib.sha256("\0".join(map(str, key)).encode()).digest()[:8], "little")
