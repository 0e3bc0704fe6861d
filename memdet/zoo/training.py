"""One resumable, deterministic training loop for all recipes."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm


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

    Returns:
        Mean loss over each block of ``every`` steps.
    """
    parameters = [parameter for module in modules for parameter in module.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=schedule.learning_rate, weight_decay=schedule.weight_decay)
    average = [parameter.detach().clone() for parameter in parameters]
    step, losses, block = 0, list[float](), 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        step, losses = state["step"], state["losses"]
        optimizer.load_state_dict(state["optimizer"])
        with torch.no_grad():
            for parameter, mean, stored, stored_mean in zip(
                parameters, average, state["parameters"], state["average"], strict=True
            ):
                parameter.copy_(stored)
                mean.copy_(stored_mean)

    for module in modules:
        module.train()
    with tqdm(total=schedule.steps, initial=step, desc=label, unit="step") as bar:
        while step < schedule.steps:
            generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
            for group in optimizer.param_groups:
                group["lr"] = schedule.learning_rate * schedule.factor(step)
            loss = loss_of(step, generator)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it without annotations
            if schedule.clip is not None:
                nn.utils.clip_grad_norm_(parameters, schedule.clip)
            optimizer.step()
            if schedule.average is not None:
                torch._foreach_lerp_(average, [p.detach() for p in parameters], 1 - schedule.average)
            block += float(loss.detach())
            step += 1
            bar.update()
            if step % every == 0 or step == schedule.steps:
                losses.append(block / ((step - 1) % every + 1))
                block = 0.0
                bar.set_postfix(loss=f"{losses[-1]:.4f}")
                _save(
                    checkpoint,
                    {
                        "step": step,
                        "losses": losses,
                        "optimizer": optimizer.state_dict(),
                        "parameters": [p.detach() for p in parameters],
                        "average": average,
                    },
                )
    if schedule.average is not None:
        with torch.no_grad():
            for parameter, mean in zip(parameters, average, strict=True):
                parameter.copy_(mean)
    for module in modules:
        module.eval()
    return losses


def round_to_half(module: nn.Module) -> None:
    """Round the weights to float16 in place, as they will be stored, and keep computing in float32."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(parameter.half().float())


def _save(path: Path, state: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    partial = path.with_suffix(".partial")
    try:
        partial.write_bytes(buffer.getvalue())  # torch's own writer does not say that a disk is full
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
