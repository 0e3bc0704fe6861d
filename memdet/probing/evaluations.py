"""What a probe computes once and charges to whoever asks: noise and predictions, and the books of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Literal, Self, TypeVar, get_args

import torch
from torch import Tensor

from memdet.errors import NotApplicableError
from memdet.models import ScoreModel
from memdet.models.device import synchronise
from memdet.probing import noise as draws
from memdet.probing.cost import Cost, Ledger
from memdet.probing.items import Items
from memdet.probing.joining import joins_branches, joins_null_row

Branch = Literal["cond", "null"]
BRANCHES: tuple[Branch, ...] = get_args(Branch)
T = TypeVar("T")
_VECTORS_OF_A_DRAW = 1_000_000  # more than any detector takes, so that draws share none


class Evaluations:
    """The part of a probe that knows the items, draws the noise, asks the model and keeps the books.

    Args:
        model: Score model; None serves detectors that never ask for it.
        items: The batch.
        seed: Of all draws.
        steps, guidance: Of the default trajectory.
        noise: ``shared`` (one draw a seed) or ``per-item``.
        n_items: Size of the sample set, over which shared evaluations are divided; the batch if not given.
        seed_memo: Shared by the probes of one seed, so that shared evaluations are made once a seed.
        first_batch: How many items the first batch of the seed has; None for that batch itself. With it, the same
            detectors in the same order give the same scores to the last bit whether or not the first batch came before.
        null_alone: Whether the null branch of shared draws is always a call of one row, as where the batches of a seed
            are spread over processes, each of which needs it.
        memo: False forgets everything between detectors.
        check: Whether Jacobian operators test themselves on one item, once a seed and backend.
        dev: Items of the dev split for :meth:`calibrate`; None or none if there are none.
    """

    def __init__(
        self,
        model: ScoreModel | None,
        items: Items,
        *,
        seed: int = 0,
        steps: int = 50,
        guidance: float = 7.5,
        noise: Literal["shared", "per-item"] = "shared",
        n_items: int | None = None,
        seed_memo: dict[Hashable, Any] | None = None,
        first_batch: int | None = None,
        null_alone: bool = False,
        memo: bool = True,
        check: bool = True,
        dev: Items | None = None,
    ) -> None:
        self._checks = check
        self._model, self._items, self.seed = model, items, seed
        self.steps, self.guidance = steps, guidance
        self._noise_kind = noise
        self._n_items = n_items or len(items)
        self._keeps = memo
        self._seed_memo = seed_memo if seed_memo is not None else {}
        self._first_batch, self._null_alone = first_batch, null_alone
        self._memo: dict[Hashable, Any] = {}
        self._ledger = Ledger()
        self._dev = dev

    def __len__(self) -> int:
        return len(self._items)

    # What the items are

    @property
    def model(self) -> ScoreModel:
        """The score model."""
        if self._model is None:
            raise NotApplicableError("this probe has no model")
        return self._model

    @property
    def prompts(self) -> Sequence[str]:
        """Text of each item.

        Raises:
            NotApplicableError: The conditions are not text.
        """
        if not self._items.has_prompts:
            raise NotApplicableError("the conditions of this sample set are not text")
        return self._items.conditions

    @property
    def images(self) -> Tensor:
        """Image of each item, ``[batch, *latent_shape]``.

        Raises:
            NotApplicableError: The task is ``prompt``.
        """
        if self._items.images is None:
            raise NotApplicableError("the items of this sample set are not images")
        return self._items.images

    @property
    def clusters(self) -> Sequence[str]:
        """Family of near-duplicates of each item; what is fitted must keep a family on one side."""
        return self._items.clusters

    @property
    def labels(self) -> Sequence[int]:
        """Labels, for supervised controls alone.

        Raises:
            PermissionError: The detector does not declare itself supervised.
        """
        if not self._ledger.supervised:
            raise PermissionError("a detector must not see labels; only a control that declares supervised=True may")
        return self._items.labels

    def uniform(self) -> Tensor:
        """A random number in [0, 1) an item, from the seed and the item alone, ``[batch]`` in float64."""
        return torch.tensor([draws.item_uniform(self.seed, name) for name in self._items.ids], dtype=torch.float64)

    # Where the model is asked

    @property
    def timesteps(self) -> list[int]:
        """Timesteps of the default trajectory, first (noisiest) to last."""
        return self.model.schedule.timesteps(self.steps)

    @property
    def noise(self) -> Tensor:
        """The starting noise x_T, ``[batch, *latent_shape]``."""
        return self.starting_noise(0)

    def starting_noise(self, draw: int) -> Tensor:
        """One of several independent starting noises, for methods that generate more than once a seed.

        Args:
            draw: 0 is :attr:`noise`; draw k of seed s is the noise of seed ``s + 1,000,000 k``.

        Returns:
            ``[batch, *latent_shape]``.
        """
        shape, seed, key = self.model.latent_shape, self.seed + 1_000_000 * draw, ("noise", draw)

        def make() -> Tensor:
            if self._noise_kind == "shared":
                return self._shared_draw(key, lambda: draws.shared_noise(shape, seed))
            return self._place(torch.stack([draws.item_noise(shape, seed, name) for name in self._items.ids]))

        return self._remember(key, make)

    def directions(
        self, count: int, kind: Literal["rademacher", "gaussian"] = "rademacher", *, draw: int = 0
    ) -> list[Tensor]:
        """Probe vectors of the seed, the same for all items, each ``[batch, *latent_shape]``.

        Other draws of one seed are other vectors.
        """
        make = draws.rademacher if kind == "rademacher" else draws.gaussian

        def vector(index: int) -> Tensor:
            key = (kind, index)
            return self._remember(
                key, lambda: self._shared_draw(key, lambda: make(self.model.latent_shape, self.seed, index))
            )

        return [vector(draw * _VECTORS_OF_A_DRAW + index) for index in range(count)]

    # What the model answers

    def eps(self, x: Tensor, t: int, branch: Branch) -> Tensor:
        """Noise prediction, ``[batch, *latent_shape]``. One forward."""

        def evaluate(cost: Cost, rows: Tensor) -> Tensor:
            return self._predict(t, cost, self._embedding(branch, len(rows)), rows)

        return self._evaluate("eps", x, t, branch, (), evaluate)

    def score(self, x: Tensor, t: int, branch: Branch) -> Tensor:
        """Score ``-eps / sigma``, ``[batch, *latent_shape]``. One forward, shared with :meth:`eps`."""
        return -self.eps(x, t, branch) / self.model.schedule.sigma(t)

    def difference(self, x: Tensor, t: int) -> Tensor:
        """``D = eps_c - eps_u``, ``[batch, *latent_shape]``. Two forwards."""
        cond, null = self.both(x, t)
        return cond - null

    def both(self, x: Tensor, t: int) -> tuple[Tensor, Tensor]:
        """Noise predictions of the conditional and of the null branch. Two forwards, in one call where that pays."""
        self._evaluate_together("eps", x, t, (), partial(self._predict, t))
        return self.eps(x, t, "cond"), self.eps(x, t, "null")

    def _predict(self, t: int, cost: Cost, embedding: Tensor, rows: Tensor) -> Tensor:
        with torch.no_grad():
            value = self.model.eps(rows, t, embedding)
        cost.count(forwards=1)
        return value

    def step(self, key: Hashable, move: Callable[[Tensor, Tensor], Tensor], x: Tensor, eps: Tensor) -> Tensor:
        """One step of a trajectory; where all items are at one place and move alike, made once a seed, and shared."""
        if self._is_shared(x) and self._is_shared(eps):
            return self._shared_draw((key, x.data_ptr(), eps.data_ptr()), lambda: move(x[:1], eps[:1])[0])
        return move(x, eps)

    # Constants that a detector takes from data

    def calibrate(self, key: Hashable, fit: Callable[[Self], T]) -> T:
        """Let a detector take constants from the dev split, once a seed; test items are never seen.

        Args:
            key: What the constants are; the detector's label, say.
            fit: Gets a probe of the dev items, whose labels may be looked at; nobody pays for it.

        Returns:
            What ``fit`` returned.

        Raises:
            NotApplicableError: The sample set has no dev split.
        """
        if self._dev is None or len(self._dev) == 0:
            raise NotApplicableError("the sample set has no dev split to take constants from")
        known: dict[Hashable, Any] = self._seed_memo.setdefault("calibrated", {})
        if key not in known:
            start = self._now()
            if "dev" not in self._seed_memo:
                self._seed_memo["dev"] = type(self)(
                    self.model,
                    self._dev,
                    seed=self.seed,
                    steps=self.steps,
                    guidance=self.guidance,
                    noise=self._noise_kind,
                    check=self._checks,
                )
            dev: Self = self._seed_memo["dev"]
            with dev.charge(supervised=True):
                known[key] = fit(dev)
            dev.forget_graphs()
            self._ledger.cost.seconds -= self._now() - start
        found: T = known[key]
        return found

    # Bookkeeping

    def forget(self) -> None:
        """Let go of all that is remembered. It refers to the probe and would else wait for the garbage collector."""
        self._memo.clear()

    def forget_graphs(self) -> None:
        """Let go of the graphs of reverse products, the largest of what is remembered."""
        for key in [key for key in self._memo if isinstance(key, tuple) and key[0] == "graph"]:
            del self._memo[key]

    @contextmanager
    def charge(self, *, supervised: bool = False) -> Iterator[Cost]:
        """Open the account of one detector; inside, every evaluation is charged to the cost that this yields."""
        if not self._keeps:
            self._memo.clear()
            self._seed_memo.clear()
        self._ledger = ledger = Ledger(supervised=supervised)
        try:
            yield ledger.cost
        finally:
            self._ledger = Ledger()

    def _evaluate(
        self, kind: str, x: Tensor, t: int, branch: Branch, vectors: tuple[Tensor, ...], compute: Callable[..., Tensor]
    ) -> Tensor:
        """Look a network evaluation up or make it, and charge it."""
        inputs = (x, *vectors)
        for tensor in inputs:
            if len(tensor) != len(self):
                raise ValueError(f"expected a batch of {len(self)}, got {len(tensor)}")
        shared = self._is_once_a_seed(branch, *inputs)
        key = self._key(kind, x, t, branch, *vectors)

        def make() -> tuple[Tensor, Cost, tuple[Tensor, ...]]:
            self._embedding(branch, len(self))  # encoded before the clock starts
            cost, start = Cost(), self._now()
            value = compute(cost, *(tensor[:1] for tensor in inputs)) if shared else compute(cost, *inputs)
            cost.seconds = self._now() - start
            return value, cost, inputs  # the inputs stay alive, so their ids stay theirs

        if shared:
            key = self._shared_key(kind, x, t, branch, *vectors)
            known = key in self._seed_memo
            if not known:
                self._share(key, make())
            one: Tensor
            one, cost, _ = self._seed_memo[key]
            value: Tensor = self._remember(("expanded", key), lambda: one.expand(len(self), *one.shape[1:]))
        else:
            known = key in self._memo
            value, cost, _ = self._remember(key, make)
        if key not in self._ledger.paid:
            self._ledger.paid.add(key)
            # Seconds are of the batch and the rest per item; time that passes inside the detector is not added twice.
            seconds = cost.seconds * (len(self) / self._n_items if shared else 1.0) if known else 0.0
            self._ledger.cost.add(replace(cost, seconds=0.0), 1 / self._n_items if shared else 1.0)
            self._ledger.cost.seconds += seconds
        return value

    def _evaluate_together(
        self,
        kind: str,
        x: Tensor,
        t: int,
        vectors: tuple[Tensor, ...],
        compute: Callable[..., Tensor],
        *pairs: tuple[Tensor, Tensor],
    ) -> None:
        """Evaluate both branches in one call, if neither is known and it pays; whoever asks for one finds it.

        What all items share is the last row of the call of the seed's first batch. Another batch to which it is
        unknown, as after an interruption, has a call of as many rows for it, in which it is rounded alike, and of which
        one row is charged.

        Args:
            kind, x, t, vectors: As for :meth:`_evaluate`.
            compute: Gets a cost to count in, the embedding of each row, and rows of x, the vectors and the pairs.
            pairs: What follows from these and differs between the branches.
        """
        inputs, n = (x, *vectors), len(self)
        shared = self._is_once_a_seed("null", *inputs)
        cond_key, null_key = (self._key(kind, x, t, branch, *vectors) for branch in BRANCHES)
        if shared:
            null_key = self._shared_key(kind, x, t, "null", *vectors)
        known = cond_key in self._memo or null_key in (self._seed_memo if shared else self._memo)
        of_first = self._first_batch if shared and self._keeps else None
        pays = (
            joins_null_row(self.model, of_first or n) and not self._null_alone
            if shared
            else joins_branches(self.model, n)
        )
        if known or not pays or any(len(tensor) != n for tensor in inputs):
            return
        extra = 1 if shared else n
        halves = [
            (self._embedding("cond", n), self._embedding("null", extra)),
            *zip(inputs, inputs, strict=True),
            *pairs,
        ]
        if of_first is None:
            embedding, *rows = (torch.cat([cond, null[:extra]]) for cond, null in halves)
        else:
            embedding, *rows = (null[:1].repeat(of_first + 1, *[1] * (null.ndim - 1)) for _, null in halves)
        cost, start = Cost(), self._now()
        value = compute(cost, embedding, *rows)
        seconds = self._now() - start
        self._ledger.cost.seconds -= seconds  # :meth:`_evaluate` charges each branch
        of_row = seconds / len(value)
        if of_first is None:
            self._memo[cond_key] = (value[:n], replace(cost, seconds=of_row * n), inputs)
        if shared:
            self._share(null_key, (value[-1:].clone(), replace(cost, seconds=of_row), inputs))
        else:
            self._memo[null_key] = (value[n:], replace(cost, seconds=of_row * n), inputs)

    def _share(self, key: Hashable, found: tuple[Tensor, Cost, tuple[Tensor, ...]]) -> None:
        """Keep an answer to shared draws for the seed. It is shared itself, so a product with it is one too."""
        self._seed_memo[key] = found
        self._seed_memo.setdefault("drawn", set()).add(found[0].data_ptr())

    @staticmethod
    def _shared_key(kind: str, x: Tensor, t: int, branch: Branch, *vectors: Tensor) -> Hashable:
        """What an evaluation is remembered under for the seed: its batches expand other tensors of one storage."""
        return (kind, t, branch, *(tensor.data_ptr() for tensor in (x, *vectors)))

    @staticmethod
    def _key(kind: str, x: Tensor, t: int, branch: Branch, *vectors: Tensor) -> Hashable:
        """What an evaluation is remembered under."""
        return (kind, t, branch, *((id(tensor), tensor._version) for tensor in (x, *vectors)))

    def _is_once_a_seed(self, branch: Branch, *inputs: Tensor) -> bool:
        """Whether an evaluation is the same for all items of a seed."""
        return branch == "null" and all(self._is_shared(tensor) for tensor in inputs)

    def _is_shared(self, tensor: Tensor) -> bool:
        """Whether all rows are one draw of the seed."""
        drawn: set[int] = self._seed_memo.get("drawn", set())
        return tensor.data_ptr() in drawn and (len(tensor) == 1 or tensor.stride(0) == 0)

    def _now(self) -> float:
        synchronise(self.model.device)
        return time.perf_counter()

    def _remember(self, key: Hashable, make: Callable[[], T]) -> T:
        if key not in self._memo:
            self._memo[key] = make()
        found: T = self._memo[key]
        return found

    def _shared_draw(self, key: Hashable, draw: Callable[[], Tensor]) -> Tensor:
        """A draw of the seed: one tensor for all its batches, expanded over this one."""
        if key not in self._seed_memo:
            self._seed_memo[key] = self._place(draw())[None]
            self._seed_memo.setdefault("drawn", set()).add(self._seed_memo[key].data_ptr())
        one: Tensor = self._seed_memo[key]
        return one.expand(len(self), *one.shape[1:])

    def _place(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.model.device, self.model.dtype)

    def _embedding(self, branch: Branch, rows: int) -> Tensor:
        """Encoded conditions; text encoders are not part of a detector's cost."""

        def unpaid(encode: Callable[[], Tensor]) -> Tensor:
            start = self._now()
            encoded = encode()
            self._ledger.cost.seconds -= self._now() - start
            return encoded

        if branch == "cond":
            return self._remember(("cond",), lambda: unpaid(lambda: self.model.embed(self._items.conditions)))
        null: Tensor = self._remember(("null",), lambda: unpaid(self.model.embed_null))
        return null.expand(rows, *null.shape[1:])
