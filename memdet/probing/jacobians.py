"""Jacobians of the score: products, the whole matrix and its spectrum, and the self-check of the operator."""

from __future__ import annotations

from collections.abc import Hashable

import torch
from torch import Tensor

from memdet.curvature import Backend, JacobianOperator, Known, eigenvalues, jacobian_matrix
from memdet.errors import NotApplicableError
from memdet.models import ClosedForm
from memdet.models.condition import Condition
from memdet.probing.branch_policy import Branch
from memdet.probing.cost import Cost
from memdet.probing.evaluator import Evaluator
from memdet.probing.memo import counting_changes, version_of
from memdet.probing.questions import Question

LARGEST_MATRIX = 4_096


class Jacobians:
    """Jacobians of one batch. Arguments, results and errors are those of the methods of a probe.

    Args:
        evaluator: Asks the model.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator

    # Products

    def product(self, x: Tensor, t: int, branch: Branch, v: Tensor, backend: Backend) -> Tensor:
        """``J v``; with the backend ``vjp`` ``J^T v``."""
        evaluator = self._evaluator
        question = Question.to(evaluator.model, "jacobian_product", x, t, branch, (v,), backend)
        at_x = Question.to(evaluator.model, "eps", x, t, branch)
        self._check(x, t, backend)
        if backend == "vjp" and (evaluator.is_once_a_seed(question) or not evaluator.is_once_a_seed(at_x)):
            self._predict_on_graph(at_x)
        value = evaluator.score(x, t, branch) if backend in {"fd-one-sided", "vjp"} else None

        def evaluate(cost: Cost, rows: Tensor, vectors: Tensor) -> Tensor:
            operator = self._operator(rows, t, branch, backend, None if value is None else value[: len(rows)])
            operator.count = cost.count
            return operator.rmv(vectors) if backend == "vjp" else operator.mv(vectors)

        return evaluator.evaluate(question, evaluate)

    def both_products(self, x: Tensor, t: int, v: Tensor, backend: Backend) -> tuple[Tensor, Tensor]:
        """:meth:`product` of the conditional and of the null branch, in one call where that pays."""
        # A tangent carries the memory of several forwards, so forward AD is joined where memory is plentiful.
        if backend in {"fd", "fd-one-sided"} or (backend == "jvp" and self._evaluator.model.device.type == "cpu"):
            self._join(x, t, v, backend)
        return self.product(x, t, "cond", v, backend), self.product(x, t, "null", v, backend)

    def _join(self, x: Tensor, t: int, v: Tensor, backend: Backend) -> None:
        evaluator = self._evaluator
        question = Question.to(evaluator.model, "jacobian_product", x, t, "cond", (v,), backend)
        self._check(x, t, backend)
        model = evaluator.model

        def evaluate(
            cost: Cost, condition: Condition, rows: Tensor, vectors: Tensor, value: Tensor | None = None
        ) -> Tensor:
            def score(z: Tensor) -> Tensor:
                return model.score(z, t, condition)

            return JacobianOperator(score, rows, backend, known=Known(value), check=False, count=cost.count).mv(vectors)

        pairs = []
        if backend == "fd-one-sided":
            sigma = model.schedule.sigma(t)
            cond, null = evaluator.both(x, t)
            pairs = [(-cond / sigma, -null / sigma)]
        evaluator.evaluate_together(question, evaluate, *pairs)

    # The whole

    def matrix(self, x: Tensor, t: int, branch: Branch) -> Tensor:
        """The whole Jacobian, by d reverse products on one graph."""
        d = x[0].numel()
        if d > LARGEST_MATRIX:
            raise NotApplicableError(
                f"the exact spectrum of a network is taken up to d = {LARGEST_MATRIX:,}, not {d:,}"
            )

        def evaluate(cost: Cost, rows: Tensor) -> Tensor:
            operator = self._operator(rows, t, branch, "vjp", None)
            operator.count = cost.count
            return jacobian_matrix(operator.rmv, rows).transpose(1, 2)

        return self._evaluator.evaluate(Question.to(self._evaluator.model, "jacobian_matrix", x, t, branch), evaluate)

    def spectrum(self, x: Tensor, t: int, branch: Branch) -> Tensor:
        """All eigenvalues of the symmetric part, ascending, in float64."""
        evaluator = self._evaluator
        question, model = Question.to(evaluator.model, "spectrum", x, t, branch), evaluator.model
        if not isinstance(model, ClosedForm):
            matrix = self.matrix(x, t, branch)
            return evaluator.remember(("spectrum", id(matrix)), str(question), lambda: eigenvalues(matrix))

        def evaluate(cost: Cost, rows: Tensor) -> Tensor:
            cost.count(jvps=rows[0].numel())
            return model.exact_spectrum(rows, t, evaluator.condition(branch, len(evaluator))[: len(rows)])

        return evaluator.evaluate(question, evaluate)

    def spectrum_of_difference(self, x: Tensor, t: int) -> Tensor:
        """All eigenvalues of the symmetric part of ``J_c - J_u``, ascending, in float64."""
        evaluator = self._evaluator
        model = evaluator.model
        if not isinstance(model, ClosedForm):
            cond, null = self.matrix(x, t, "cond"), self.matrix(x, t, "null")
            key = ("spectrum-of-difference", id(cond), id(null))
            return evaluator.remember(key, "spectrum_of_difference(...)", lambda: eigenvalues(cond - null))

        def evaluate(cost: Cost, rows: Tensor) -> Tensor:
            cost.count(jvps=2 * rows[0].numel())
            cond, null = evaluator.condition("cond", len(evaluator)), evaluator.condition("null", 1)
            return model.exact_difference_spectrum(rows, t, cond[: len(rows)], null)

        return evaluator.evaluate(Question.to(evaluator.model, "spectrum_of_difference", x, t, "cond"), evaluate)

    def frobenius_of_difference(self, x: Tensor, t: int) -> Tensor:
        """Exact ``norm(J_c - J_u)`` (Frobenius), in float64."""
        evaluator = self._evaluator
        model = evaluator.model
        if not isinstance(model, ClosedForm):
            difference = self.matrix(x, t, "cond") - self.matrix(x, t, "null")
            norm: Tensor = difference.double().flatten(1).norm(dim=1)
            return norm

        def evaluate(cost: Cost, rows: Tensor) -> Tensor:
            cost.count(jvps=2 * rows[0].numel())
            cond, null = evaluator.condition("cond", len(evaluator)), evaluator.condition("null", 1)
            return model.exact_difference_frobenius(rows, t, cond[: len(rows)], null)

        return evaluator.evaluate(Question.to(evaluator.model, "frobenius_of_difference", x, t, "cond"), evaluate)

    # The operator

    def _predict_on_graph(self, at_x: Question) -> None:
        """Make the prediction at ``x``, if nobody did yet, by the forward whose graph reverse products need."""
        evaluator, t, branch = self._evaluator, at_x.t, at_x.branch
        model = evaluator.model

        def evaluate(cost: Cost, rows: Tensor) -> Tensor:
            evaluator.memo.drop(("graph", branch))  # a graph is large: the old one goes before the new one is made
            leaf = rows.detach().requires_grad_(True)
            with torch.enable_grad():
                eps = model.eps(leaf, t, evaluator.condition(branch, len(evaluator))[: len(rows)])
                score = -eps / model.schedule.sigma(t)
            cost.count(forwards=1)
            self._operator(rows, t, branch, "vjp", score.detach(), graph=(leaf, score))
            return eps.detach()

        evaluator.evaluate(at_x, evaluate)

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
        evaluator = self._evaluator
        model, condition = evaluator.model, evaluator.condition(branch, len(evaluator))[: len(rows)]

        def score(z: Tensor) -> Tensor:
            return model.score(z, t, condition)

        def exact(v: Tensor) -> Tensor:
            if not isinstance(model, ClosedForm):
                raise NotApplicableError(f"{model.name} is no closed form")
            return model.exact_hessian_product(rows, t, condition, v).to(v)

        def make() -> JacobianOperator:
            return JacobianOperator(score, rows, backend, known=Known(value, graph, exact), check=check)

        if backend != "vjp" or check:
            return make()
        place, key = (t, rows.data_ptr(), version_of(rows), len(rows)), ("graph", branch)
        kept: tuple[Hashable, JacobianOperator] | None = evaluator.memo.get(key)
        if kept is None or kept[0] != place:
            evaluator.memo.drop(key)  # a graph is large: the old one goes before the new one is made
            kept = (place, make())
            evaluator.memo.put(key, kept, "a graph")
        return kept[1]

    def _check(self, x: Tensor, t: int, backend: Backend) -> None:
        """Let an operator test itself on one item, once a seed and backend; nobody pays for it."""
        evaluator = self._evaluator
        checked = evaluator.memory.checked
        if evaluator.context.policy.self_check and backend not in checked:
            with evaluator.unpaid(), counting_changes():
                self._operator(x[:1], t, "cond", backend, None, check=True)
            checked.add(backend)
