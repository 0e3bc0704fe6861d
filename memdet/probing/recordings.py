"""What a network computes on the way to a prediction, and its derivative in the condition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from memdet.curvature import JacobianOperator
from memdet.errors import NotApplicableError
from memdet.models import ClosedForm, Condition
from memdet.models.diffusers.recording import AttentionLayer
from memdet.models.prediction_type import relative_score
from memdet.probing.branch_policy import BRANCHES, Branch
from memdet.probing.cost import Cost
from memdet.probing.evaluator import Evaluator
from memdet.probing.questions import Answer, Question

R = TypeVar("R")


class Recordings:
    """Recordings of one batch. Arguments, results and errors are those of the methods of a probe.

    Args:
        evaluator: Asks the model.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator

    def attention(self, x: Tensor, t: int, branch: Branch) -> list[AttentionLayer]:
        """Cross-attention of every layer, averaged over heads."""
        return self._recorded("attention", self._evaluator.model.attention, x, t, branch)

    def bottleneck(self, x: Tensor, t: int, branch: Branch) -> Tensor:
        """Activation of the network's middle block."""
        return self._recorded("bottleneck", self._evaluator.model.bottleneck, x, t, branch)

    def embedding_product(self, x: Tensor, t: int) -> Tensor:
        """Derivative of what the condition moves in the score, along the step from the null condition."""
        evaluator = self._evaluator
        model = evaluator.model

        def evaluate(cost: Cost, rows: Tensor) -> Tensor:
            condition, null = (evaluator.condition(branch, len(evaluator)) for branch in BRANCHES)
            name = condition.differentiable
            if name is None:
                raise NotApplicableError(
                    "the condition holds no one tensor of real numbers (a class number, say) to differentiate in"
                )
            at, start = condition.tensors[name], null.tensors[name]
            if at.shape != start.shape:
                raise NotApplicableError(
                    f"no step leads from the null condition, {list(start.shape[1:])} numbers, to conditions of "
                    f"{list(at.shape[1:])}: texts of {model.name} have lengths of their own"
                )
            if isinstance(model, ClosedForm) and bool((at == 0).any()):
                raise NotApplicableError("a condition rules components out, where the score has no derivative in it")

            def function(encoded: Tensor) -> Tensor:
                told = replace(condition, tensors={**condition.tensors, name: encoded})
                return relative_score(model.predict(rows, t, told), model.schedule.sigma(t), model.prediction_type)

            operator = JacobianOperator(function, at, check=False)
            operator.count = cost.count
            return operator.mv(at - start)

        return evaluator.evaluate(Question.to(evaluator.model, "embedding_product", x, t, "cond"), evaluate)

    def _recorded(
        self, kind: str, record: Callable[[Tensor, int, Condition], tuple[Tensor, R]], x: Tensor, t: int, branch: Branch
    ) -> R:
        """What a forward passes through: the forward of :meth:`output`, and whoever reads it pays for that one."""
        evaluator = self._evaluator
        prediction, recording = (Question.to(evaluator.model, name, x, t, branch) for name in ("output", kind))
        known = prediction.key in evaluator.memo

        def make() -> R:
            start = evaluator.now()
            with torch.no_grad():
                output, found = record(x, t, evaluator.condition(branch, len(evaluator)))
            seconds = evaluator.now() - start
            evaluator.reimburse(seconds)  # who asks for the prediction is charged those of it
            if not known:
                answer = Answer(output, Cost(forwards=1, seconds=seconds), (x,))
                evaluator.memo.put(prediction.key, answer, str(prediction), output)
            return found

        result = evaluator.remember(recording.key, str(recording), make)
        evaluator.output(x, t, branch)
        return result
