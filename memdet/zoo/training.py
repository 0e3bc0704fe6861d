"""One resumable, deterministic training loop for all recipes."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from memdet.io_utils import write_bytes


@dataclass(frozen=True)
class Schedule:
    """Length and learning rate of a training run.

    Attributes:
        steps: Number of updates.
        learning_rate: Peak, reached after ``warmup`` steps; falls linearly to 0.
        warmup: Steps of linear rise.
        weight_decay: Of AdamW.
        clip: Largest norm of the gradient, or None.
        average: Decay of the exponential weight average, or None for the last weights.
    """

    steps: int
    learning_rate: float = 1e-3
    warmup: int = 0
    weight_decay: float = 0.01
    clip: float | None = 1.0
    average: float | None = 0.999

    def factor(self, step: int) -> float:
        """Learning rate at ``step`` as a share of the peak."""
        rise = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        return rise * (1 - step / self.steps)


def train(
    modules: Sequence[nn.Module],
    loss_of: Callable[[int, torch.Generator], Tensor],
    schedule: Schedule,
    *,
    seed: int,
    checkpoint: Path,
    label: str,
    every: int = 250,
    after: Callable[[int], None] | None = None,
) -> list[float]:
    """Train ``modules`` in place; leave the averaged weights in them.

    Every step draws from a generator seeded with (seed, step) alone, so a run that was interrupted and resumed gives
    the weights of one that was not.

    Args:
        modules: What is trained.
        loss_of: Gives the loss of a step, drawing all its randomness from the generator.
        schedule: Length and learning rate.
        seed: Of the draws.
        checkpoint: File of the resumable state, rewritten every ``every`` steps and left behind at the end.
        label: Shown beside the progress bar.
        every: Steps between checkpoints.
        after: Told the number of updates after each of them, before a checkpoint is written.

    Returns:
        Mean loss over each block of ``every`` steps.
    """
    training = _Training(modules, schedule)
    training.resume(checkpoint)
    for module in modules:
        module.train()
    block = 0.0
    with tqdm(total=schedule.steps, initial=training.step, desc=label, unit="step") as bar:
        while training.step < schedule.steps:
            generator = torch.Generator().manual_seed(seed * 1_000_003 + training.step)
            block += training.update(loss_of(training.step, generator))
            bar.update()
            if after is not None:
                after(training.step)
            if training.step % every == 0 or training.step == schedule.steps:
                training.losses.append(block / ((training.step - 1) % every + 1))
                block = 0.0
                bar.set_postfix(loss=f"{training.losses[-1]:.4f}")
                training.save(checkpoint)
    if schedule.average is not None:
        training.take_average()
    for module in modules:
        module.eval()
    return training.losses


class _Training:
    """What a run has come to: weights, their average, the optimizer's state, the step and the losses."""

    def __init__(self, modules: Sequence[nn.Module], schedule: Schedule) -> None:
        self._schedule = schedule
        self._parameters = [parameter for module in modules for parameter in module.parameters()]
        self._optimizer = torch.optim.AdamW(
            self._parameters, lr=schedule.learning_rate, weight_decay=schedule.weight_decay
        )
        self._average = [parameter.detach().clone() for parameter in self._parameters]
        self.step = 0
        self.losses: list[float] = []

    def resume(self, checkpoint: Path) -> None:
        """Go on from a checkpoint, if it exists."""
        if not checkpoint.exists():
            return
        state = torch.load(checkpoint, weights_only=True)
        self.step, self.losses = state["step"], state["losses"]
        self._optimizer.load_state_dict(state["optimizer"])
        with torch.no_grad():
            for own, stored in ((self._parameters, state["parameters"]), (self._average, state["average"])):
                for tensor, value in zip(own, stored, strict=True):
                    tensor.copy_(value)

    def save(self, checkpoint: Path) -> None:
        """Write all that :meth:`resume` needs."""
        state = {
            "step": self.step,
            "losses": self.losses,
            "optimizer": self._optimizer.state_dict(),
            "parameters": [p.detach() for p in self._parameters],
            "average": self._average,
        }
        buffer = io.BytesIO()  # torch's own writer does not say that a disk is full
        torch.save(state, buffer)
        write_bytes(checkpoint, buffer.getvalue())

    def update(self, loss: Tensor) -> float:
        """Make a step down the gradient of a loss, and give its value."""
        schedule = self._schedule
        for group in self._optimizer.param_groups:
            group["lr"] = schedule.learning_rate * schedule.factor(self.step)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it without annotations
        if schedule.clip is not None:
            nn.utils.clip_grad_norm_(self._parameters, schedule.clip)
        self._optimizer.step()
        if schedule.average is not None:
            torch._foreach_lerp_(self._average, [p.detach() for p in self._parameters], 1 - schedule.average)
        self.step += 1
        return float(loss.detach())

    def take_average(self) -> None:
        """Put the averaged weights in the place of the last ones."""
        with torch.no_grad():
            for parameter, mean in zip(self._parameters, self._average, strict=True):
                parameter.copy_(mean)


def round_to_half(module: nn.Module) -> None:
    """Round the weights to float16 in place, as they will be stored, and keep computing in float32."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(parameter.half().float())
