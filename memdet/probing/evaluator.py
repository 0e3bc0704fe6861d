"""Where the model is asked: every answer is made once, kept, and charged to whoever asks for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from memdet.errors import NotApplicableError
from memdet.models import ScoreModel
from memdet.models.condition import Condition
from memdet.models.device import synchronise
from memdet.models.prediction_type import eps_from_output, x0_from_output
from memdet.probing.branch_policy import BRANCHES, Branch, joins_branches
from memdet.probing.context import Context
from memdet.probing.cost import Cost, Ledger
from memdet.probing.items import Items
from memdet.probing.memo import Changed, ChangedInPlaceError, Memo, counting_changes, names_of
from memdet.probing.questions import Answer, Question
from memdet.probing.seed_memory import SeedMemory

T = TypeVar("T")


class Evaluator:
    """Asks the model about one batch and keeps the books.

    Args:
        model: Score model; None serves detectors that never ask for it.
        items: The batch.
        context: Protocol, seed and policy.
        memory: What the batches of the seed share.
        dev: Items from which detectors may take constants.
        clock: Gives seconds.

    Attributes:
        items, context, memory, clock: As given.
        memo: What is remembered of the batch.
        n_items: Over how many items shared evaluations are divided.
        notes: What the detector that is charged says beside its scores.
    """

    def __init__(
        self,
        model: ScoreModel | None,
        items: Items,
        context: Context,
        memory: SeedMemory,
        *,
        dev: Items | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._model, self._dev = model, dev
        self.items, self.context, self.memory, self.clock = items, context, memory, clock
        self.memo = Memo()
        self.n_items = context.n_items or len(items)
        self.notes: list[str] = []
        self._ledger = Ledger()
        self._generation = memory.generation

    def __len__(self) -> int:
        return len(self.items)

    @property
    def has_model(self) -> bool:
        """Whether there is a model to ask."""
        return self._model is not None

    @property
    def model(self) -> ScoreModel:
        """The score model."""
        if self._model is None:
            raise NotApplicableError("this probe has no model")
        return self._model

    @property
    def images(self) -> Tensor:
        """A copy of the items' images, which are nowhere else.

        Raises:
            NotApplicableError: The task is ``prompt``.
        """
        images = self.items.images
        if images is None:
            raise NotApplicableError("the items of this sample set are not images")
        return self.memo.remember(("images",), "images", images.clone)

    @property
    def labels(self) -> list[int]:
        """Labels, if who is charged may see them.

        Raises:
            PermissionError: The detector does not declare itself supervised.
        """
        if not self._ledger.supervised:
            raise PermissionError("a detector must not see labels; only a control that declares supervised=True may")
        return list(self.items.labels)

    # What the model answers

    def output(self, x: Tensor, t: int, branch: Branch) -> Tensor:
        """What the network returns. One forward."""

        def evaluate(cost: Cost, rows: Tensor) -> Tensor:
            return self._predict(t, cost, self.condition(branch, len(rows)), rows)

        return self.evaluate(Question.to(self.model, "output", x, t, branch), evaluate)

    def eps(self, x: Tensor, t: int, branch: Branch) -> Tensor:
        """Noise prediction. One forward, shared with :meth:`output`."""
        output, model = self.output(x, t, branch), self.model
        if model.prediction_type == "eps":
            return output
        alpha, sigma = model.schedule.alpha(t), model.schedule.sigma(t)

        def convert(x: Tensor, output: Tensor) -> Tensor:
            return eps_from_output(output, x, alpha, sigma, model.prediction_type)

        question = Question.to(model, "eps", x, t, branch)
        return self.memo.remember(question.key, str(question), lambda: self.step("eps", convert, x, output))

    def clean_of(self, x: Tensor, t: int, branch: Branch) -> Tensor:
        """Predicted clean sample, as the scheduler goes on with it. One forward, shared with :meth:`output`."""
        model, output = self.model, self.output(x, t, branch)
        if model.prediction_type == "eps":
            self.refuse_pure_noise(t)
        alpha, sigma = model.schedule.alpha(t), model.schedule.sigma(t)
        with counting_changes():
            return model.schedule.limited(x0_from_output(output, x, alpha, sigma, model.prediction_type))

    def score(self, x: Tensor, t: int, branch: Branch) -> Tensor:
        """``-eps / sigma``. One forward, shared with :meth:`eps`.

        Raises:
            NotApplicableError: Pure noise, where it is ``-x / sigma^2`` whatever the condition.
        """
        self.refuse_pure_noise(t)
        with counting_changes():
            return -self.eps(x, t, branch) / self.model.schedule.sigma(t)

    def both(self, x: Tensor, t: int) -> tuple[Tensor, Tensor]:
        """Network outputs of the conditional and of the null branch. Two forwards, in one call where that pays."""
        self.evaluate_together(Question.to(self.model, "output", x, t, "cond"), partial(self._predict, t))
        return self.output(x, t, "cond"), self.output(x, t, "null")

    def difference(self, x: Tensor, t: int) -> Tensor:
        """``eps_c - eps_u``, over alpha where the network predicts no noise. Two forwards."""
        with counting_changes():
            cond, null = self.both(x, t)
            difference = cond - null
            return -difference / self.model.schedule.sigma(t) if self.model.prediction_type == "x0" else difference

    def refuse_pure_noise(self, t: int) -> None:
        """Refuse what looks at one branch where the answer of every model is the same.

        Raises:
            NotApplicableError: Pure noise.
        """
        if self.model.schedule.is_pure_noise(t):
            raise NotApplicableError(f"pure noise: at t = {t:g} the score is -x / sigma^2 whatever model and condition")

    def _predict(self, t: int, cost: Cost, condition: Condition, rows: Tensor) -> Tensor:
        with torch.no_grad():
            value = self.model.predict(rows, t, condition)
        cost.count(forwards=1)
        return value

    def step(
        self,
        key: Hashable,
        move: Callable[[Tensor, Tensor], Tensor],
        x: Tensor,
        eps: Tensor,
        what: str = "step(...)",
    ) -> Tensor:
        """``move(x, eps)``; where all items are at one place and move alike, made once a seed, and shared."""
        if self.memory.is_shared(x) and self.memory.is_shared(eps):
            key = (key, x.data_ptr(), eps.data_ptr())
            return self.draw_of_seed(key, what, lambda: move(x[:1], eps[:1])[0])
        with counting_changes():
            moved = move(x, eps)
        self.memo.watch(("steps",), moved, what)
        return moved

    def evaluate(self, question: Question, compute: Callable[..., Tensor]) -> Tensor:
        """Look an answer up or make it, and charge it.

        Args:
            question: Asked by a detector, perhaps not for the first time.
            compute: Gets a cost to count in, and rows of the inputs: one if the answer is the same for all items.

        Raises:
            ValueError: Inputs of another batch.
        """
        for tensor in question.inputs:
            if len(tensor) != len(self):
                raise ValueError(f"expected a batch of {len(self)}, got {len(tensor)}")
        shared = self.is_once_a_seed(question)
        memo, key = (self.memory.shared, question.key_of_seed) if shared else (self.memo, question.key)
        known = key in memo
        if not known:
            made = self._answer(question, compute, 1 if shared else len(self))
            memo.put(key, made, str(question), made.value)
            if shared:  # so a product with it is shared too
                self.memory.share(made.value)
        answer: Answer = memo.get(key)
        self._pay(key, answer.cost, shared=shared, known=known)
        if not shared:
            return answer.value
        one = answer.value
        return self.memo.remember(("expanded", key), str(question), lambda: one.expand(len(self), *one.shape[1:]))

    def _answer(self, question: Question, compute: Callable[..., Tensor], rows: int) -> Answer:
        self.condition(question.branch, len(self))  # encoded before the clock starts
        with counting_changes():
            cost, start = Cost(), self.now()
            value = compute(cost, *(tensor[:rows] for tensor in question.inputs))
            cost.seconds = self.now() - start
        return Answer(value, cost, question.inputs)

    def _pay(self, key: Hashable, cost: Cost, *, shared: bool, known: bool) -> None:
        """Charge an answer, once a detector."""
        if key in self._ledger.paid:
            return
        self._ledger.paid.add(key)
        # Seconds are of the batch and the rest per item; time that passes inside the detector is not added twice.
        seconds = cost.seconds * (len(self) / self.n_items if shared else 1.0) if known else 0.0
        self._ledger.cost.add(replace(cost, seconds=0.0), 1 / self.n_items if shared else 1.0)
        self._ledger.cost.seconds += seconds

    def evaluate_together(
        self, question: Question, compute: Callable[..., Tensor], *pairs: tuple[Tensor, Tensor]
    ) -> None:
        """Answer a question for both branches in one call, if neither is known and it pays; who asks for one finds it.

        Where the null branch is the same for all items of the seed, it is one row, and a call of its own.

        Args:
            question: Of the conditional branch.
            compute: Gets a cost to count in, the condition of each row, and rows of the inputs and the pairs.
            pairs: What follows from the inputs and differs between the branches.
        """
        null, n = replace(question, branch="null"), len(self)
        if self.is_once_a_seed(null) or question.key in self.memo or null.key in self.memo:
            return
        if not self.context.policy.join_branches or not joins_branches(self.model, n):
            return
        if any(len(tensor) != n for tensor in question.inputs):
            return
        branches = [self.condition("cond", n), self.condition("null", n)]
        if not branches[0].joins(branches[1]):
            return
        condition = Condition.cat(branches)
        with counting_changes():
            rows = [torch.cat(half) for half in (*zip(question.inputs, question.inputs, strict=True), *pairs)]
            cost, start = Cost(), self.now()
            value = compute(cost, condition, *rows)
            seconds = self.now() - start
        self._ledger.cost.seconds -= seconds  # :meth:`evaluate` charges each branch
        for asked, part in ((question, value[:n]), (null, value[n:])):
            answer = Answer(part, replace(cost, seconds=seconds / 2), question.inputs)
            self.memo.put(asked.key, answer, str(asked), answer.value)

    def is_once_a_seed(self, question: Question) -> bool:
        """Whether the answer is the same for all items of a seed."""
        return question.branch == "null" and all(map(self.memory.is_shared, question.inputs))

    # What is remembered

    def remember(self, key: Hashable, what: str, make: Callable[[], T]) -> T:
        """Something of this batch that is no network evaluation, made once."""
        return self.memo.remember(key, what, make)

    def draw_of_seed(self, key: Hashable, what: str, draw: Callable[[], Tensor]) -> Tensor:
        """A draw of the seed, without the batch: one tensor for all its batches, expanded over this one."""
        if key not in self.memory.shared:
            self.memory.share(self.memory.shared.remember(key, what, lambda: self.place(draw())[None]))
        one: Tensor = self.memory.shared.get(key)
        return one.expand(len(self), *one.shape[1:])

    def place(self, tensor: Tensor) -> Tensor:
        """A tensor on the model's device, in its dtype."""
        return tensor.to(self.model.device, self.model.dtype)

    def condition(self, branch: Branch, rows: int) -> Condition:
        """Encoded conditions, of all items or expanded from one; text encoders are not part of a detector's cost."""

        def encode() -> Condition:
            with self.unpaid():
                return self.model.embed(self.items.conditions) if branch == "cond" else self.model.embed_null()

        encoded = self.memo.remember((branch,), "the encoded conditions", encode)
        return encoded if branch == "cond" else encoded.expand(rows)

    def constants(self, key: Hashable, fit: Callable[[Evaluator], T]) -> T:
        """What ``fit`` takes from the dev items, once a seed; nobody pays for it.

        Raises:
            NotApplicableError: The sample set has no dev split.
            ValueError: The model's answers for it are not finite.
        """
        if self._dev is None or len(self._dev) == 0:
            raise NotApplicableError("the sample set has no dev split to take constants from")
        memory, self._ledger.cost.by_dev = self.memory, True
        if key not in memory.constants:
            with self.unpaid():
                if memory.dev is None:
                    context = replace(self.context, n_items=None, policy=replace(self.context.policy, memo=True))
                    memory.dev = Evaluator(self.model, self._dev, context, SeedMemory(), clock=self.clock)
                dev = memory.dev
                with dev.charge(supervised=True):
                    fitted = fit(dev)
                for memo in (dev.memo, dev.memory.shared):
                    memo.check_finite("the dev items")
                memory.constants.put(key, fitted, f"calibrate({key!r}, ...)")
                dev.forget_graphs()
        found: T = memory.constants.get(key)
        return found

    def forget(self) -> None:
        """Let go of all that is remembered of the batch."""
        self.memo.clear()

    def forget_graphs(self) -> None:
        """Let go of the graphs of reverse products, the largest of what is remembered."""
        for branch in BRANCHES:
            self.memo.drop(("graph", branch))

    # The books

    def now(self) -> float:
        """Seconds, once the device has done all that it was told."""
        synchronise(self.model.device)
        return self.clock()

    @contextmanager
    def unpaid(self) -> Iterator[None]:
        """Time that passes inside is not the detector's."""
        start = self.now()
        try:
            yield
        finally:
            self._ledger.cost.seconds -= self.now() - start

    def note(self, text: str) -> None:
        """What the detector that is charged says beside its scores, once."""
        if text not in self.notes:
            self.notes.append(text)

    def reimburse(self, seconds: float) -> None:
        """Take back time that is charged elsewhere."""
        self._ledger.cost.seconds -= seconds

    @contextmanager
    def charge(self, *, supervised: bool = False) -> Iterator[Cost]:
        """Open the account of one detector; inside, every evaluation is charged to the cost that this yields.

        Raises:
            ChangedInPlaceError: When it is closed, if something was changed in place that others share.
        """
        if not self.context.policy.memo:
            self.memory.forget()
        if self.memory.generation != self._generation:  # forgotten here or by another batch of the seed
            self.memo.clear()
            self._generation = self.memory.generation
        self._forget_changed()  # by whoever had no account
        self._ledger, self.notes = (ledger := Ledger(supervised=supervised)), []
        changed: list[str] = []
        try:
            yield ledger.cost
        finally:
            self._ledger = Ledger()
            changed = self._forget_changed()
        if changed:
            raise ChangedInPlaceError(changed)

    def changed(self) -> list[Changed]:
        """What was changed in place, here and in what the batches of the seed share."""
        return [*self.memo.changed(), *self.memory.changed()]

    def _forget_changed(self) -> list[str]:
        """Let go of everything if something was changed, for more may follow from it; names of what was changed."""
        changed = names_of(self.changed())
        if changed:
            self.memo.clear()
            self.memory.forget()
            self._generation = self.memory.generation
        return changed
