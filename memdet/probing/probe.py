"""One batch of items under one noise seed on one score model: what detectors ask, computed once."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from memdet.curvature import Backend, JacobianOperator, eigenvalues, jacobian_matrix
from memdet.errors import NotApplicableError
from memdet.models import ClosedForm, ScoreModel
from memdet.probing import noise as draws
from memdet.probing.cost import Cost, Ledger
from memdet.probing.items import Items
from memdet.probing.trajectory import Trajectory

Branch = Literal["cond", "null"]
T = TypeVar("T")
LARGEST_MATRIX = 4_096


class Probe:
    """Gives detectors noise, predictions, trajectories and Jacobian products.

    Each quantity is computed once however many detectors ask, and charged in full to every detector that asks, so the
    cost of a row is what the detector would cost alone. Tensors that come from the probe must not be changed in place.
    Where all items share the starting noise, it is one tensor expanded over the batch, and what depends on it alone is
    evaluated once a seed.

    Args:
        model: Score model; None serves detectors that never ask for it.
        items: The batch.
        seed: Of all draws.
        steps, guidance: Of the default trajectory.
        noise: ``shared`` (one draw a seed) or ``per-item``.
        n_items: Size of the sample set, over which shared evaluations are divided; the batch if not given.
        seed_memo: Shared by the probes of one seed, so that shared evaluations are made once a seed.
        memo: False forgets everything between detectors.
        check: Whether Jacobian operators test themselves on one item, once a seed and backend.
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
        memo: bool = True,
        check: bool = True,
    ) -> None:
        self._checks = check
        self._model, self._items, self.seed = model, items, seed
        self.steps, self.guidance = steps, guidance
        self._noise_kind = noise
        self._n_items = n_items or len(items)
        self._keeps = memo
        self._seed_memo = seed_memo if seed_memo is not None else {}
        self._memo: dict[Hashable, Any] = {}
        self._ledger = Ledger()

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
        shape = self.model.latent_shape

        def draw() -> Tensor:
            if self._noise_kind == "shared":
                return self._shared_draw(("noise",), lambda: draws.shared_noise(shape, self.seed))
            return self._place(torch.stack([draws.item_noise(shape, self.seed, name) for name in self._items.ids]))

        return self._remember(("noise",), draw)

    def directions(self, count: int, kind: Literal["rademacher", "gaussian"] = "rademacher") -> list[Tensor]:
        """Probe vectors of the seed, the same for all items, each ``[batch, *latent_shape]``."""
        make = draws.rademacher if kind == "rademacher" else draws.gaussian

        def vector(index: int) -> Tensor:
            key = (kind, index)
            return self._remember(
                key, lambda: self._shared_draw(key, lambda: make(self.model.latent_shape, self.seed, index))
            )

        return [vector(index) for index in range(count)]

    def trajectory(self, steps: int | None = None, guidance: float | None = None) -> Trajectory:
        """DDIM trajectory of the protocol, or with other steps or guidance; extended lazily.

        Raises:
            NotApplicableError: The items are images, which a trajectory from noise does not meet.
        """
        if self._items.images is not None:
            raise NotApplicableError("the items are images; a trajectory from noise does not meet them")
        length = self.steps if steps is None else steps
        scale = self.guidance if guidance is None else guidance
        return self._remember(("trajectory", length, scale), lambda: Trajectory(self, length, scale))

    def at(self, t: int | None, guidance: float = 1.0) -> tuple[Tensor, int]:
        """Where a detector of one time looks: on the trajectory, or at the noisy image ``alpha x_0 + sigma noise``.

        Args:
            t: None for the first timestep, where a trajectory starts from noise; else the nearest timestep of the
                default trajectory.
            guidance: Of the trajectory; 1 is the unguided conditional one.

        Returns:
            Latents and their timestep.
        """
        timesteps = self.timesteps
        index = 0 if t is None else timesteps.index(self.nearest_timestep(t))
        if self._items.images is not None:
            alpha, sigma = self.model.schedule.alpha(timesteps[index]), self.model.schedule.sigma(timesteps[index])
            noisy = self._remember(("noisy", index), lambda: alpha * self._place(self.images) + sigma * self.noise)
            return noisy, timesteps[index]
        if t is None:
            return self.noise, timesteps[0]
        return self.trajectory(guidance=guidance).state(index), timesteps[index]

    def nearest_timestep(self, t: int) -> int:
        """The timestep of the default trajectory that is nearest to ``t``; of two the noisier."""
        return min(self.timesteps, key=lambda timestep: abs(timestep - t))

    def clean(self) -> Tensor:
        """What is judged, without noise, ``[batch, *latent_shape]``: the image, or the end of the trajectory."""
        if self._items.images is not None:
            return self._remember(("clean",), lambda: self._place(self.images))
        return self.trajectory().end()

    # What the model answers

    def eps(self, x: Tensor, t: int, branch: Branch) -> Tensor:
        """Noise prediction, ``[batch, *latent_shape]``. One forward."""

        def evaluate(cost: Cost, rows: Tensor) -> Tensor:
            with torch.no_grad():
                value = self.model.eps(rows, t, self._embedding(branch, len(rows)))
            cost.count(forwards=1)
            return value

        return self._evaluate("eps", x, t, branch, (), evaluate)

    def score(self, x: Tensor, t: int, branch: Branch) -> Tensor:
        """Score ``-eps / sigma``, ``[batch, *latent_shape]``. One forward, shared with :meth:`eps`."""
        return -self.eps(x, t, branch) / self.model.schedule.sigma(t)

    def difference(self, x: Tensor, t: int) -> Tensor:
        """``D = eps_c - eps_u``, ``[batch, *latent_shape]``. Two forwards."""
        return self.eps(x, t, "cond") - self.eps(x, t, "null")

    def jacobian_product(self, x: Tensor, t: int, branch: Branch, v: Tensor, backend: Backend = "jvp") -> Tensor:
        """``J v`` with J the Jacobian of the score at ``x``, ``[batch, *latent_shape]``.

        Args:
            x, v: ``[batch, *latent_shape]``.
            t: Timestep.
            branch: Of the model.
            backend: ``jvp`` (exact), ``fd`` (two forwards), ``fd-one-sided`` (one forward beside the prediction at x);
                ``vjp`` gives ``J^T v`` instead, beside the prediction at x; ``closed-form`` is what the model knows.

        Raises:
            NotApplicableError: ``closed-form``, of a model that is none.
            ValueError: The model fails the self-check of its Jacobian (`memdet.curvature.JacobianOperator`).
        """
        value = self.score(x, t, branch) if backend in {"fd-one-sided", "vjp"} else None
        self._check(x, t, backend)

        def evaluate(cost: Cost, rows: Tensor, vectors: Tensor) -> Tensor:
            operator = self._operator(rows, t, branch, backend, None if value is None else value[: len(rows)])
            operator.count = cost.count
            return operator.rmv(vectors) if backend == "vjp" else operator.mv(vectors)

        return self._evaluate(f"product-{backend}", x, t, branch, (v,), evaluate)

    def jacobian_matrix(self, x: Tensor, t: int, branch: Branch) -> Tensor:
        """The whole Jacobian of the score, ``[batch, d, d]``, by d reverse products on one graph.

        Raises:
            NotApplicableError: More than 4,096 dimensions.
        """
        d = x[0].numel()
        if d > LARGEST_MATRIX:
            raise NotApplicableError(
                f"the exact spectrum of a network is taken up to d = {LARGEST_MATRIX:,}, not {d:,}"
            )

        def evaluate(cost: Cost, rows: Tensor) -> Tensor:
            operator = self._operator(rows, t, branch, "vjp", None)
            operator.count = cost.count
            return jacobian_matrix(operator.rmv, rows).transpose(1, 2)

        return self._evaluate("matrix", x, t, branch, (), evaluate)

    def spectrum(self, x: Tensor, t: int, branch: Branch) -> Tensor:
        """All eigenvalues of the symmetric part of the score's Jacobian, ascending, ``[batch, d]`` float64.

        Of a closed form they are known, and charged as the d products that a network would take.

        Raises:
            NotApplicableError: A network with more than 4,096 dimensions.
        """
        model = self.model
        if not isinstance(model, ClosedForm):
            matrix = self.jacobian_matrix(x, t, branch)
            return self._remember(("spectrum", id(matrix)), lambda: eigenvalues(matrix))

        def evaluate(cost: Cost, rows: Tensor) -> Tensor:
            cost.count(jvps=rows[0].numel())
            return model.exact_spectrum(rows, t, self._embedding(branch, len(self))[: len(rows)])

        return self._evaluate("spectrum", x, t, branch, (), evaluate)

    def spectrum_of_difference(self, x: Tensor, t: int) -> Tensor:
        """All eigenvalues of the symmetric part of ``J_c - J_u``, ascending, ``[batch, d]`` float64.

        Cost and errors as :meth:`spectrum`, twice.
        """
        model = self.model
        if not isinstance(model, ClosedForm):
            cond, null = self.jacobian_matrix(x, t, "cond"), self.jacobian_matrix(x, t, "null")
            return self._remember(("spectrum-of-difference", id(cond), id(null)), lambda: eigenvalues(cond - null))

        def evaluate(cost: Cost, rows: Tensor) -> Tensor:
            cost.count(jvps=2 * rows[0].numel())
            cond, null = self._embedding("cond", len(self)), self._embedding("null", 1)
            return model.exact_difference_spectrum(rows, t, cond[: len(rows)], null)

        return self._evaluate("spectrum-of-difference", x, t, "cond", (), evaluate)

    def frobenius_of_difference(self, x: Tensor, t: int) -> Tensor:
        """Exact ``norm(J_c - J_u)`` (Frobenius), ``[batch]`` float64; cost and errors as :meth:`spectrum`, twice."""
        model = self.model
        if not isinstance(model, ClosedForm):
            difference = self.jacobian_matrix(x, t, "cond") - self.jacobian_matrix(x, t, "null")
            norm: Tensor = difference.double().flatten(1).norm(dim=1)
            return norm

        def evaluate(cost: Cost, rows: Tensor) -> Tensor:
            cost.count(jvps=2 * rows[0].numel())
            cond, null = self._embedding("cond", len(self)), self._embedding("null", 1)
            return model.exact_difference_frobenius(rows, t, cond[: len(rows)], null)

        return self._evaluate("frobenius-of-difference", x, t, "cond", (), evaluate)

    def _operator(
        self, rows: Tensor, t: int, branch: Branch, backend: Backend, value: Tensor | None, check: bool = False
    ) -> JacobianOperator:
        """Operator at ``rows``; with ``vjp`` its graph is kept for all products at one place."""
        embedding = self._embedding(branch, len(self))[: len(rows)]

        def score(z: Tensor) -> Tensor:
            return self.model.score(z, t, embedding)

        def exact(v: Tensor) -> Tensor:
            if not isinstance(self.model, ClosedForm):
                raise NotApplicableError(f"{self.model.name} is no closed form")
            return self.model.exact_hessian_product(rows, t, embedding, v).to(v)

        def make() -> JacobianOperator:
            return JacobianOperator(score, rows, backend, value=value, exact=exact, check=check)

        if backend != "vjp" or check:
            return make()
        return self._remember(("operator", t, branch, rows.data_ptr(), rows._version, len(rows)), make)

    def _check(self, x: Tensor, t: int, backend: Backend) -> None:
        """Let an operator test itself on one item, once a seed and backend; nobody pays for it."""
        checked: set[Backend] = self._seed_memo.setdefault("checked", set())
        if self._checks and backend not in checked:
            start = self._now()
            self._operator(x[:1], t, "cond", backend, None, check=True)
            checked.add(backend)
            self._ledger.cost.seconds -= self._now() - start

    # Bookkeeping

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
        shared = branch == "null" and all(self._is_shared(tensor) for tensor in inputs)
        key = (kind, t, branch, *((id(tensor), tensor._version) for tensor in inputs))

        def make() -> tuple[Tensor, Cost, tuple[Tensor, ...]]:
            cost, start = Cost(), self._now()
            value = compute(cost, *(tensor[:1] for tensor in inputs)) if shared else compute(cost, *inputs)
            cost.seconds = self._now() - start
            return value, cost, inputs  # the inputs stay alive, so their ids stay theirs

        if shared:
            # Across the batches of a seed the expanded tensors differ, their storage does not.
            key = (kind, t, branch, *(tensor.data_ptr() for tensor in inputs))
            known = key in self._seed_memo
            if not known:
                self._seed_memo[key] = make()
                # An answer to shared draws is shared itself, so a product with it is one too.
                self._seed_memo.setdefault("drawn", set()).add(self._seed_memo[key][0].data_ptr())
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

    def _is_shared(self, tensor: Tensor) -> bool:
        """Whether all rows are one draw of the seed."""
        drawn: set[int] = self._seed_memo.get("drawn", set())
        return tensor.data_ptr() in drawn and (len(tensor) == 1 or tensor.stride(0) == 0)

    def _now(self) -> float:
        if self.model.device.type == "cuda":
            torch.cuda.synchronize(self.model.device)
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
        if branch == "cond":
            return self._remember(("cond",), lambda: self.model.embed(self._items.conditions))
        null: Tensor = self._remember(("null",), self.model.embed_null)
        return null.expand(rows, *null.shape[1:])
