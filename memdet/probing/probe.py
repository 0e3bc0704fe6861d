"""One batch of items under one noise seed on one score model: what detectors ask, computed once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar

import torch
from torch import Tensor

from memdet.curvature import Backend, JacobianOperator, Known, eigenvalues, jacobian_matrix
from memdet.errors import NotApplicableError
from memdet.models import ClosedForm
from memdet.models.diffusers.recording import AttentionLayer
from memdet.probing.cost import Cost
from memdet.probing.evaluations import Branch, Evaluations
from memdet.probing.trajectory import Trajectory

LARGEST_MATRIX = 4_096
R = TypeVar("R")


class Probe(Evaluations):
    """Gives detectors noise, predictions, trajectories, Jacobian products, attention and generations.

    Each quantity is computed once however many detectors ask, and charged in full to every detector that asks, so the
    cost of a row is what the detector would cost alone. Tensors that come from the probe must not be changed in place.
    Where all items share the starting noise, it is one tensor expanded over the batch, and what depends on it alone is
    evaluated once a seed. The arguments are those of :class:`~memdet.probing.evaluations.Evaluations`.
    """

    # Where detectors look

    def trajectory(self, steps: int | None = None, guidance: float | None = None, draw: int = 0) -> Trajectory:
        """DDIM trajectory of the protocol, or with other steps, guidance or starting noise; extended lazily.

        Raises:
            NotApplicableError: The items are images, which a trajectory from noise does not meet.
        """
        if self._items.images is not None:
            raise NotApplicableError("the items are images; a trajectory from noise does not meet them")
        length = self.steps if steps is None else steps
        scale = self.guidance if guidance is None else guidance
        start = self.starting_noise(draw)
        return self._remember(("trajectory", length, scale, draw), lambda: Trajectory(self, start, length, scale))

    def generated(self, draw: int = 0) -> Tensor:
        """Image at the end of the protocol's trajectory, ``[batch, channels, height, width]`` in [0, 1].

        In the task ``image`` it is the item's own image. Decoding is no network evaluation.

        Raises:
            NotApplicableError: The model's samples are not images.
        """
        clean = self.clean(draw)
        return self._remember(("generated", draw), lambda: self.model.decode(clean))

    @property
    def training_images(self) -> Tensor:
        """Training images of the model that are known, ``[n, channels, height, width]`` in [0, 1].

        Raises:
            NotApplicableError: None are known.
        """
        if "training-images" not in self._seed_memo:
            self._seed_memo["training-images"] = self.model.training_images()
        images: Tensor = self._seed_memo["training-images"]
        return images

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

    def clean(self, draw: int = 0) -> Tensor:
        """What is judged, without noise, ``[batch, *latent_shape]``: the image, or the end of the trajectory."""
        if self._items.images is not None:
            return self._remember(("clean",), lambda: self._place(self.images))
        return self.trajectory(draw=draw).clean()

    # What the model computes on the way

    def attention(self, x: Tensor, t: int, branch: Branch) -> list[AttentionLayer]:
        """Cross-attention of every layer, averaged over heads. One forward, which also gives :meth:`eps`.

        Raises:
            NotApplicableError: The model has no cross-attention.
        """
        return self._recorded("attention", self.model.attention, x, t, branch)

    def bottleneck(self, x: Tensor, t: int, branch: Branch) -> Tensor:
        """Activation of the network's middle block, ``[batch, ...]``. One forward, which also gives :meth:`eps`.

        Raises:
            NotApplicableError: The model has no middle block.
        """
        return self._recorded("bottleneck", self.model.bottleneck, x, t, branch)

    @property
    def end_positions(self) -> Tensor:
        """Position of each prompt's end token among those of :meth:`attention`, int64 ``[batch]``; padding follows.

        Raises:
            NotApplicableError: The conditions are not text.
        """
        return self.model.end_positions(self.prompts)

    def embedding_product(self, x: Tensor, t: int) -> Tensor:
        """Derivative of the conditional score along the step from the null condition to the condition.

        Forward AD through the embedding at the condition, ``[batch, *latent_shape]``. One JVP.

        Raises:
            NotApplicableError: The condition is a class number, or weights of a mixture with zeros among them.
        """

        def evaluate(cost: Cost, rows: Tensor) -> Tensor:
            condition = self._embedding("cond", len(self))
            if not condition.is_floating_point():
                raise NotApplicableError("the condition is a class number, in which nothing can be differentiated")
            if isinstance(self.model, ClosedForm) and bool((condition == 0).any()):
                raise NotApplicableError("a condition rules components out, where the score has no derivative in it")
            operator = JacobianOperator(lambda e: self.model.score(rows, t, e), condition, check=False)
            operator.count = cost.count
            return operator.mv(condition - self._embedding("null", len(self)))

        return self._evaluate("embedding-product", x, t, "cond", (), evaluate)

    def _recorded(
        self, kind: str, record: Callable[[Tensor, int, Tensor], tuple[Tensor, R]], x: Tensor, t: int, branch: Branch
    ) -> R:
        """What a forward passes through: the forward of :meth:`eps`, and whoever reads it pays for that one."""
        known = self._key("eps", x, t, branch) in self._memo

        def make() -> R:
            start = self._now()
            with torch.no_grad():
                eps, found = record(x, t, self._embedding(branch, len(self)))
            seconds = self._now() - start
            self._ledger.cost.seconds -= seconds  # :meth:`eps` charges those of its own
            if not known:
                self._memo[self._key("eps", x, t, branch)] = (eps, Cost(forwards=1, seconds=seconds), (x,))
            return found

        result = self._remember(self._key(kind, x, t, branch), make)
        self.eps(x, t, branch)
        return result

    # Jacobians

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
        self._check(x, t, backend)
        if backend == "vjp" and (self._is_once_a_seed(branch, x, v) or not self._is_once_a_seed(branch, x)):
            self._predict_on_graph(x, t, branch)
        value = self.score(x, t, branch) if backend in {"fd-one-sided", "vjp"} else None

        def evaluate(cost: Cost, rows: Tensor, vectors: Tensor) -> Tensor:
            operator = self._operator(rows, t, branch, backend, None if value is None else value[: len(rows)])
            operator.count = cost.count
            return operator.rmv(vectors) if backend == "vjp" else operator.mv(vectors)

        return self._evaluate(f"product-{backend}", x, t, branch, (v,), evaluate)

    def both_products(self, x: Tensor, t: int, v: Tensor, backend: Backend = "jvp") -> tuple[Tensor, Tensor]:
        """:meth:`jacobian_product` of the conditional and of the null branch, in one call where that pays."""
        if backend in {"fd", "fd-one-sided"} or (backend == "jvp" and self.model.device.type == "cpu"):
            self._join_products(x, t, v, backend)
        return self.jacobian_product(x, t, "cond", v, backend), self.jacobian_product(x, t, "null", v, backend)

    def _join_products(self, x: Tensor, t: int, v: Tensor, backend: Backend) -> None:
        self._check(x, t, backend)

        def evaluate(
            cost: Cost, embedding: Tensor, rows: Tensor, vectors: Tensor, value: Tensor | None = None
        ) -> Tensor:
            def score(z: Tensor) -> Tensor:
                return self.model.score(z, t, embedding)

            return JacobianOperator(score, rows, backend, known=Known(value), check=False, count=cost.count).mv(vectors)

        pairs = []
        if backend == "fd-one-sided":
            sigma = self.model.schedule.sigma(t)
            cond, null = self.both(x, t)
            pairs = [(-cond / sigma, -null / sigma)]
        self._evaluate_together(f"product-{backend}", x, t, (v,), evaluate, *pairs)

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

    def _predict_on_graph(self, x: Tensor, t: int, branch: Branch) -> None:
        """Make the prediction at ``x``, if nobody did yet, by the forward whose graph reverse products need."""

        def evaluate(cost: Cost, rows: Tensor) -> Tensor:
            self._memo.pop(("graph", branch), None)  # a graph is large: the old one goes before the new one is made
            leaf = rows.detach().requires_grad_(True)
            with torch.enable_grad():
                eps = self.model.eps(leaf, t, self._embedding(branch, len(self))[: len(rows)])
                score = -eps / self.model.schedule.sigma(t)
            cost.count(forwards=1)
            self._operator(rows, t, branch, "vjp", score.detach(), graph=(leaf, score))
            return eps.detach()

        self._evaluate("eps", x, t, branch, (), evaluate)

    def _operator(
        self,
        rows: Tensor,
        t: int,
        branch: Branch,
        backend: Backend,
        value: Tensor | None,
        *,
        graph: tuple[Tensor, Tensor] | None = None,
        check: bool = False,
    ) -> JacobianOperator:
        """Operator at ``rows``; with ``vjp`` its graph is kept for all products at the last place of a branch."""
        embedding = self._embedding(branch, len(self))[: len(rows)]

        def score(z: Tensor) -> Tensor:
            return self.model.score(z, t, embedding)

        def exact(v: Tensor) -> Tensor:
            if not isinstance(self.model, ClosedForm):
                raise NotApplicableError(f"{self.model.name} is no closed form")
            return self.model.exact_hessian_product(rows, t, embedding, v).to(v)

        def make() -> JacobianOperator:
            return JacobianOperator(score, rows, backend, known=Known(value, graph, exact), check=check)

        if backend != "vjp" or check:
            return make()
        place = (t, rows.data_ptr(), rows._version, len(rows))
        kept: tuple[Hashable, JacobianOperator] | None = self._memo.get(("graph", branch))
        if kept is None or kept[0] != place:
            self._memo.pop(("graph", branch), None)  # a graph is large: the old one goes before the new one is made
            kept = self._memo[("graph", branch)] = (place, make())
        return kept[1]

    def _check(self, x: Tensor, t: int, backend: Backend) -> None:
        """Let an operator test itself on one item, once a seed and backend; nobody pays for it."""
        checked: set[Backend] = self._seed_memo.setdefault("checked", set())
        if self._checks and backend not in checked:
            start = self._now()
            self._operator(x[:1], t, "cond", backend, None, check=True)
            checked.add(backend)
            self._ledger.cost.seconds -= self._now() - start
