"""Random draws that depend on the seed and the item, and on nothing else.

Everything is drawn on the CPU in float32, so scores do not depend on batch size, order, workers or device.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from memdet.probing.evaluator import Evaluator
from memdet.probing.questions import check_name
from memdet.probing.uniform import item_uniform, key_of

Kind = Literal["rademacher", "gaussian"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_VECTORS_OF_A_DRAW = 1_000_000  # more than any detector takes, so that draws share none


class Draws:
    """Draws for one batch. Where its items share one, it is one tensor for all batches of the seed, expanded.

    Args:
        evaluator: Knows the batch and what is remembered.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator

    def starting_noise(self, draw: int) -> Tensor:
        """Starting noise, ``[batch, *latent_shape]``; draw k of seed s is the noise of seed ``s + 1,000,000 k``."""
        evaluator, context = self._evaluator, self._evaluator.context
        shape, seed, key = evaluator.model.latent_shape, context.seed + 1_000_000 * draw, ("noise", draw)
        what = f"starting_noise({draw})" if draw else "noise"

        def make() -> Tensor:
            if context.protocol.noise == "shared":
                return evaluator.draw_of_seed(key, what, lambda: shared_noise(shape, seed))
            return evaluator.place(torch.stack([item_noise(shape, seed, name) for name in evaluator.items.ids]))

        return evaluator.remember(key, what, make)

    def start(self, draw: int, steps: int) -> Tensor:
        """Where a trajectory of so many steps starts: starting noise, scaled where samples are not scaled down."""
        noise, scale = self.starting_noise(draw), self._evaluator.model.schedule.start_scale(steps)
        if scale == 1:
            return noise
        return self._evaluator.step(("start", steps), lambda x, _: scale * x, noise, noise, "trajectory(...).state(0)")

    def directions(self, count: int, kind: Kind, draw: int) -> list[Tensor]:
        """Probe vectors of the seed, the same for all items, each ``[batch, *latent_shape]``.

        Raises:
            ValueError: Unknown kind.
        """
        check_name(kind, KINDS, "kind of probe vectors")
        make = rademacher if kind == "rademacher" else gaussian
        evaluator, shape, seed = self._evaluator, self._evaluator.model.latent_shape, self._evaluator.context.seed

        def vector(index: int) -> Tensor:
            def one() -> Tensor:
                return evaluator.draw_of_seed((kind, index), "directions(...)", lambda: make(shape, seed, index))

            return evaluator.remember((kind, index), "directions(...)", one)

        return [vector(draw * _VECTORS_OF_A_DRAW + index) for index in range(count)]

    def uniform(self) -> Tensor:
        """A number in [0, 1) an item, from the seed and the item alone, ``[batch]`` in float64."""
        seed, names = self._evaluator.context.seed, self._evaluator.items.ids
        return torch.tensor([item_uniform(seed, name) for name in names], dtype=torch.float64, device="cpu")


def shared_noise(shape: tuple[int, ...], seed: int) -> Tensor:
    """The starting noise of all items of a seed: what a diffusers pipeline draws for this generator."""
    return _normal(shape, torch.Generator("cpu").manual_seed(seed))


def item_noise(shape: tuple[int, ...], seed: int, item_id: str) -> Tensor:
    """The starting noise of one item."""
    return _normal(shape, _generator("noise", seed, item_id))


def rademacher(shape: tuple[int, ...], seed: int, index: int) -> Tensor:
    """The ``index``-th probe vector of a seed, entries +1 and -1."""
    generator = _generator("rademacher", seed, index)
    return torch.randint(2, shape, generator=generator, dtype=torch.int64, device="cpu").float() * 2 - 1


def gaussian(shape: tuple[int, ...], seed: int, index: int) -> Tensor:
    """The ``index``-th standard normal vector of a seed, independent of the starting noise."""
    return _normal(shape, _generator("gaussian", seed, index))


def _normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")


def _generator(*key: str | int) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(key_of(*key))
