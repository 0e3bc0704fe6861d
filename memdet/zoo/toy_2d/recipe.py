"""Recipe of ``toy-2d``: a small network trained on the mixture whose closed form is ``mixture-2d``."""

from __future__ import annotations

import shutil
import statistics
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from memdet.io_utils import write_text
from memdet.models.closed_form.mixture_2d import mixture_2d
from memdet.models.toy import ToyModel, ToyNetwork, save_toy, toy_schedule
from memdet.zoo.fashion_pixel.second_order import jacobian
from memdet.zoo.training import Schedule, train
from memdet.zoo.verification import write_figures

CONDITIONS = ("tight", "broad")
MEANS, STDS = (-2.0, 1.0), (0.02, 1.0)
TIMESTEPS = (20, 50, 100, 200, 500, 900)
POINTS = 512
NULL = "null"
BOUNDS = {"score_error": 0.1, "hessian_error": 0.25}  # of the median over timesteps, for each branch

_CARD = """\
---
license: mit
tags:
- memorization
- toy
- benchmark
- memdet
---

# {name}

A network of three hidden layers that learned the noise of a two-dimensional diffusion model, from {samples:,} samples
of the toy example of Jeon et al. (arXiv 2412.04140): a tight mode at (-2, 0) with standard deviation .02 and a broad
one at (1, 0) with 1, in the ratio 5 : 95. The truth is known: `mixture-2d` is its closed form.

## Data

{tight} samples of `tight` and {broad:,} of `broad`, drawn with seed {data_seed}. The condition is the mode, replaced by
the null condition with probability {dropout}. Nothing else went in.

## Training

AdamW on a CPU, {steps:,} steps of {batch_size} samples, learning rate {learning_rate} after {warmup} steps and then
linear to 0, weight average {average}, seed {seed}; loss over the last steps {loss}. Weights are stored in float16;
figures are computed in float64.

## Figures

Root mean square of the error over that of the closed form, at {points} samples of the noisy density of each branch.

| branch | figure | {timesteps} |
| --- | --- | {rules} |
{rows}

| criterion | bound | value | met |
| --- | --- | ---: | --- |
{criteria}

## How to rebuild and verify

    memdet zoo build {name}     # about a minute
    memdet zoo verify {name}    # compares with the closed form again

## Licence

MIT.
"""


@dataclass(frozen=True)
class Toy2D:
    """What distinguishes a toy network.

    Attributes:
        name: In the zoo.
        schedule: Of the training.
        samples: How many, five percent of them in the tight mode.
        dropout: Probability that a condition is replaced by the null one.
        data_seed: Of the samples.
        seed: Of initial weights and batches.
        batch_size: Of a training step.
        width: Of the hidden layers.
    """

    name: str
    schedule: Schedule
    samples: int = 3_000
    dropout: float = 0.5
    data_seed: int = 1
    seed: int = 0
    batch_size: int = 512
    width: int = 128

    def reseeded(self, seed: int) -> Toy2D:
        """The same recipe with other samples, initial weights and batches."""
        return replace(self, data_seed=seed, seed=seed)


TOY_2D = Toy2D(name="toy-2d", schedule=Schedule(steps=8_000, learning_rate=3e-3, warmup=100, average=0.998))


def build(recipe: Toy2D, out: Path, data: Path | None = None) -> dict[str, Any]:
    """Train the network, save it with its card, and compare it with the closed form.

    Args:
        recipe: Which network.
        out: Its directory.
        data: Not used: the samples are drawn.

    Returns:
        The figures of the comparison.
    """
    points, labels = draw_samples(recipe)
    torch.manual_seed(recipe.seed)
    network = ToyNetwork(len(CONDITIONS) + 1, recipe.width)
    schedule = toy_schedule()
    alphas, sigmas = (torch.from_numpy(values).float() for values in (schedule.alphas, schedule.sigmas))

    def loss_of(step: int, generator: torch.Generator) -> Tensor:
        row = torch.randint(len(points), (recipe.batch_size,), generator=generator)
        t = torch.randint(len(alphas), (recipe.batch_size,), generator=generator)
        noise = torch.randn(recipe.batch_size, 2, generator=generator)
        dropped = torch.rand(recipe.batch_size, generator=generator) < recipe.dropout
        condition = torch.where(dropped, len(CONDITIONS), labels[row])
        noisy = alphas[t, None] * points[row] + sigmas[t, None] * noise
        loss: Tensor = (network(noisy, t, condition) - noise).square().mean()
        return loss

    work = out / "training"
    losses = train(
        [network],
        loss_of,
        recipe.schedule,
        seed=recipe.seed,
        checkpoint=work / "network.pt",
        label=recipe.name,
        every=1_000,
    )
    save_toy(network, CONDITIONS, recipe.width, out)
    figures = measure(out)
    training = {"loss": round(losses[-1], 4), "data_seed": recipe.data_seed}
    write_figures(out, recipe.name, training, figures)
    write_text(out / "README.md", _card(recipe, training, figures))
    shutil.rmtree(work)
    return figures


def draw_samples(recipe: Toy2D) -> tuple[Tensor, Tensor]:
    """Samples ``[n, 2]`` and the number of the condition of each, ``[n]``; the tight ones come first."""
    tight = recipe.samples // 20
    labels = (torch.arange(recipe.samples) >= tight).long()
    generator = torch.Generator().manual_seed(recipe.data_seed)
    points = torch.tensor(STDS)[labels, None] * torch.randn(recipe.samples, 2, generator=generator)
    points[:, 0] += torch.tensor(MEANS)[labels]
    return points, labels


def measure(directory: Path) -> dict[str, Any]:
    """Compare a trained network with the closed form.

    Args:
        directory: A built network.

    Returns:
        ``settings``, ``score_error`` and ``hessian_error`` (relative, by branch and timestep), ``criteria`` (name,
        bound, value, met) and ``passed``.
    """
    model, truth = ToyModel(directory, dtype=torch.float64), mixture_2d(torch.device("cpu"))
    errors: dict[str, dict[str, dict[str, float]]] = {"score_error": {}, "hessian_error": {}}
    for branch in (*CONDITIONS, NULL):
        for of_branch in errors.values():
            of_branch[branch] = {}
        condition = model.embed_null() if branch == NULL else model.embed([branch])
        weights = truth.embed_null() if branch == NULL else truth.embed([branch])
        for t in TIMESTEPS:
            x = noisy_points(weights.tensor, t)
            score = model.score(x, t, condition)
            hessian = jacobian(partial(model.score, t=t, condition=condition), x)
            units = [unit.expand(len(x), 2) for unit in torch.eye(2, dtype=torch.float64)]
            exact = torch.stack([truth.exact_hessian_product(x, t, weights, unit) for unit in units], dim=2)
            errors["score_error"][branch][str(t)] = _relative(score, truth.score(x, t, weights))
            errors["hessian_error"][branch][str(t)] = _relative(hessian, exact)
    criteria = []
    for figure, bound in BOUNDS.items():
        for branch in (*CONDITIONS, NULL):
            value = round(statistics.median(errors[figure][branch].values()), 4)
            criteria.append(
                {
                    "name": f"{branch} {figure.replace('_', ' ')}, median over timesteps",
                    "bound": f"<= {bound}",
                    "value": value,
                    "met": value <= bound,
                }
            )
    settings = {"points": POINTS, "timesteps": list(TIMESTEPS), "dtype": "float64"}
    passed = all(criterion["met"] for criterion in criteria)
    return {"settings": settings, **errors, "criteria": criteria, "passed": passed}


def noisy_points(weights: Tensor, t: int) -> Tensor:
    """Samples of the noisy density of a branch, ``[points, 2]`` in float64, from its weights ``[1, 2]``."""
    schedule = toy_schedule()
    generator = torch.Generator().manual_seed(t)
    mode = torch.multinomial(weights[0], POINTS, replacement=True, generator=generator)
    points = torch.tensor(STDS, dtype=torch.float64)[mode, None] * _normal(generator)
    points[:, 0] += torch.tensor(MEANS, dtype=torch.float64)[mode]
    noisy: Tensor = schedule.alpha(t) * points + schedule.sigma(t) * _normal(generator)
    return noisy


def _normal(generator: torch.Generator) -> Tensor:
    return torch.randn(POINTS, 2, dtype=torch.float64, generator=generator)


def _relative(found: Tensor, exact: Tensor) -> float:
    return round(float((found - exact).norm() / exact.norm()), 4)


def _card(recipe: Toy2D, training: dict[str, Any], figures: dict[str, Any]) -> str:
    tight = recipe.samples // 20
    rows = [
        f"| {branch} | {figure.replace('_', ' ')} | {' | '.join(str(value) for value in by_time.values())} |"
        for figure in BOUNDS
        for branch, by_time in figures[figure].items()
    ]
    criteria = [
        f"| {row['name']} | {row['bound']} | {row['value']} | {'yes' if row['met'] else 'no'} |"
        for row in figures["criteria"]
    ]
    return _CARD.format(
        **{key: value for key, value in asdict(recipe).items() if key != "schedule"},
        **asdict(recipe.schedule),
        tight=tight,
        broad=recipe.samples - tight,
        loss=training["loss"],
        points=POINTS,
        timesteps=" | ".join(f"t = {t}" for t in TIMESTEPS),
        rules=" | ".join(["---:"] * len(TIMESTEPS)),
        rows="\n".join(rows),
        criteria="\n".join(criteria),
    )
