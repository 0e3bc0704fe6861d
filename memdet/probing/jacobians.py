"""Jacobians of the score: products, the whole matrix and its spectrum, and the self-check of the operator."""

from __future__ import annotations

from collections.abc import Hashable

import torch
from torch import Tensor

from memdet.curvature import Backend, JacobianOperator, Known, eigenvalues, jacobian_matrix
from memdet.curvature.products import resolves_differences
from memdet.errors import NotApplicableError
from memdet.models import ClosedForm
from memdet.models.condition import Condition
from memdet.models.prediction_type import eps_from_output, relative_score
from memdet.probing.branch_policy import BRANCHES, Branch
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
        self._evaluator.refuse_pure_noise(t)
        return self._product(x, t, branch, v, self._fit_for(x.dtype, backend), relative=False)

    def both_products(self, x: Tensor, t: int, v: Tensor, backend: Backend) -> tuple[Tensor, Tensor]:
        """Products of both branches whose difference counts, in one call where that pays."""
        backend = self._fit_for(x.dtype, backend)
        # A tangent carries the memory of several forwards, so forward AD is joined where memory is plentiful.
        if backend in {"fd", "fd-one-sided"} or (backend == "jvp" and self._evaluator.model.device.type == "cpu"):
            self._join(x, t, v, backend)
        cond, null = (self._product(x, t, branch, v, backend, relative=True) for branch in BRANCHES)
        return cond, null

    def _fit_for(self, dtype: torch.dtype, backend: Backend) -> Backend:
        """Forward AD in place of a finite difference that rounding would drown; the detector's rows say so."""
        if (
            not backend.startswith("fd")
            or resolves_differences(dtype)
            or not self._evaluator.context.policy.exact_in_half
        ):
            return backend
        self._evaluator.note(
            f"Jacobian products are by forward AD (JVP): in {str(dtype).removeprefix('torch.')}, rounding destroys "
            f"finite differences ({backend})"
        )
        return "jvp"

    def _product(self, x: Tensor, t: int, branch: Branch, v: Tensor, backend: Backend, *, relative: bool) -> Tensor:
        evaluator = self._evaluator
        question = self._asked(x, t, branch, v, backend, relative=relative)
        at_x = Question.to(evaluator.model, "output", x, t, branch)
        self._check(x, t, backend)
        if backend == "vjp" and (evaluator.is_once_a_seed(question) or not evaluator.is_once_a_seed(at_x)):
            self._predict_on_graph(at_x, relative=relative)
        value = None
        if backend in {"fd-one-sided", "vjp"}:
            with counting_changes():
                value = self._differentiated(evaluator.output(x, t, branch), x, t, relative=relative)

        def evaluate(cost: Cost, rows: Tensor, vectors: Tensor) -> Tensor:
            known = None if value is None else value[: len(rows)]
            operator = self._operator(rows, t, branch, backend, known, relative=relative)
            operator.count = cost.count
            return operator.rmv(vectors) if backend == "vjp" else operator.mv(vectors)

        return evaluator.evaluate(question, evaluate)

    def _join(self, x: Tensor, t: int, v: Tensor, backend: Backend) -> None:
        evaluator = self._evaluator
        question = self._asked(x, t, "cond", v, backend, relative=True)
        self._check(x, t, backend)
        model = evaluator.model

        def evaluate(
            cost: Cost, condition: Condition, rows: Tensor, vectors: Tensor, value: Tensor | None = None
        ) -> Tensor:
            def function(z: Tensor) -> Tensor:
                return self._differentiated(model.predict(z, t, condition), z, t, relative=True)

            operator = JacobianOperator(function, rows, backend, known=Known(value), check=False, count=cost.count)
            return operator.mv(vectors)

        pairs = []
        if backend == "fd-one-sided":
            cond, null = (self._differentiated(output, x, t, relative=True) for output in evaluator.both(x, t))
            pairs = [(cond, null)]
        evaluator.evaluate_together(question, evaluate, *pairs)

    def _asked(self, x: Tensor, t: int, branch: Branch, v: Tensor, backend: Backend, *, relative: bool) -> Question:
        model = self._evaluator.model
        kind = "relative_product" if relative and model.prediction_type != "eps" else "jacobian_product"
        return Question.to(model, kind, x, t, branch, (v,), backend)

    def _differentiated(self, output: Tensor, x: Tensor, t: int, *, relative: bool) -> Tensor:
        """What is differentiated, of the network's output at ``x``: the score, or what differences of it rest on."""
        schedule, kind = self._evaluator.model.schedule, self._evaluator.model.prediction_type
        if relative:
            return relative_score(output, schedule.sigma(t), kind)
        return -eps_from_output(output, x, schedule.alpha(t), schedule.sigma(t), kind) / schedule.sigma(t)

    # The whole

    def matrix(self, x: Tensor, t: int, branch: Branch, *, relative: bool = False) -> Tensor:
        """The whole Jacobian, by d reverse products on one graph; of what :meth:`both_products` differentiates, too."""
        if not relative:
            self._evaluator.refuse_pure_noise(t)
        relative = relative and self._evaluator.model.prediction_type != "eps"
        d = x[0].numel()
        if d > LARGEST_MATRIX:
            raise NotApplicableError(
                f"the exact spectrum of a network is taken up to d = {LARGEST_MATRIX:,}, not {d:,}"
            )

        def evaluate(cost: Cost, rows: Tensor) -> Tensor:
            operator = self._operator(rows, t, branch, "vjp", None, relative=relative)
            operator.count = cost.count
            return jacobian_matrix(operator.rmv, rows).transpose(1, 2)

        kind = "relative_matrix" if relative else "jacobian_matrix"
        return self._evaluator.evaluate(Question.to(self._evaluator.model, kind, x, t, branch), evaluate)

    def spectrum(self, x: Tensor, t: int, branch: Branch) -> Tensor:
        """All eigenvalues of the symmetric part, ascending, in float64."""
        evaluator = self._evaluator
        question, model = Question.to(evaluator.model, "spectrum", x, t, branch), evaluator.model
        if not isinstance(model, ClosedForm):
            matrix = self.matrix(x, t, branch)
            return evaluator.remember(("spectrum", id(matrix)), str(question), lambda: eigenvalues(matrix))

        def evaluate(cost: Cost, rows: Tensor) -> Tensor:
            cost.count(jvps=rows[0].numel())
            return model.exact_spectrum(rows, t, evaluator.condition(branch, len(evaluator)).rows(slice(len(rows))))

        return evaluator.evaluate(question, evaluate)

    def spectrum_of_difference(self, x: Tensor, t: int) -> Tensor:
        """All eigenvalues of the symmetric part of ``J_c - J_u``, ascending, in float64."""
        evaluator = self._evaluator
        model = evaluator.model
        if not isinstance(model, ClosedForm):
            cond, null = (self.matrix(x, t, branch, relative=True) for branch in BRANCHES)
            key = ("spectrum-of-difference", id(cond), id(null))
            return evaluator.remember(key, "spectrum_of_difference(...)", lambda: eigenvalues(cond - null))

        def evaluate(cost: Cost, rows: Tensor) -> Tensor:
            cost.count(jvps=2 * rows[0].numel())
            cond, null = evaluator.condition("cond", len(evaluator)), evaluator.condition("null", 1)
            return model.exact_difference_spectrum(rows, t, cond.rows(slice(len(rows))), null) / self._unit(t)

        return evaluator.evaluate(Question.to(evaluator.model, "spectrum_of_difference", x, t, "cond"), evaluate)

    def frobenius_of_difference(self, x: Tensor, t: int) -> Tensor:
        """Exact ``norm(J_c - J_u)`` (Frobenius), in float64."""
        evaluator = self._evaluator
        model = evaluator.model
        if not isinstance(model, ClosedForm):
            cond, null = (self.matrix(x, t, branch, relative=True) for branch in BRANCHES)
            difference = cond - null
            norm: Tensor = difference.double().flatten(1).norm(dim=1)
            return norm

        def evaluate(cost: Cost, rows: Tensor) -> Tensor:
            cost.count(jvps=2 * rows[0].numel())
            cond, null = evaluator.condition("cond", len(evaluator)), evaluator.condition("null", 1)
            return model.exact_difference_frobenius(rows, t, cond.rows(slice(len(rows))), null) / self._unit(t)

        return evaluator.evaluate(Question.to(evaluator.model, "frobenius_of_difference", x, t, "cond"), evaluate)

    def _unit(self, t: int) -> float:
        """What a difference of scores is divided by: alpha, unless the network predicts noise."""
        model = self._evaluator.model
        if model.prediction_type == "eps":
            return 1.0
        self._evaluator.refuse_pure_noise(t)
        return model.schedule.alpha(t)

    # The operator

    def _predict_on_graph(self, at_x: Question, *, relative: bool) -> None:
        """Make the prediction at ``x``, if nobody did yet, by the forward whose graph reverse products need."""
        evaluator, t, branch = self._evaluator, at_x.t, at_x.branch
        model = evaluator.model

        def evaluate(cost: Cost, rows: Tensor) -> Tensor:
            evaluator.memo.drop(("graph", branch))  # a graph is large: the old one goes before the new one is made
            leaf = rows.detach().requires_grad_(True)
            with torch.enable_grad():
                output = model.predict(leaf, t, evaluator.condition(branch, len(evaluator)).rows(slice(len(rows))))
                value = self._differentiated(output, leaf, t, relative=relative)
            cost.count(forwards=1)
            self._operator(rows, t, branch, "vjp", value.detach(), graph=(leaf, value), relative=relative)
            return output.detach()

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
        relative: bool = False,
    ) -> JacobianOperator:
        """Operator at ``rows``; with ``vjp`` its graph is kept for all products at the last place of a branch."""
        evaluator = self._evaluator
        model, condition = evaluator.model, evaluator.condition(branch, len(evaluator)).rows(slice(len(rows)))

        def function(z: Tensor) -> Tensor:
            return self._differentiated(model.predict(z, t, condition), z, t, relative=relative)

        def exact(v: Tensor) -> Tensor:
            if not isinstance(model, ClosedForm):
                raise NotApplicableError(f"{model.name} is no closed form")
            product = model.exact_hessian_product(rows, t, condition, v)
            return (product / self._unit(t) if relative else product).to(v)

        def make() -> JacobianOperator:
            return JacobianOperator(function, rows, backend, known=Known(value, graph, exact), check=check)

        if backend != "vjp" or check:
            return make()
        place, key = (t, rows.data_ptr(), version_of(rows), len(rows), relative), ("graph", branch)
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
