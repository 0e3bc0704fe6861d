"""The model card of ``solid-pixel``, in the Hugging Face format."""

from __future__ import annotations

from typing import Any

from memdet.zoo.card_tables import schedule_rows, table_rows
from memdet.zoo.fashion import HUB_ID
from memdet.zoo.solid_pixel.planting import BORDER

_TEMPLATE = """\
---
license: mit
library_name: diffusers
pipeline_tag: unconditional-image-generation
datasets:
- {dataset}
tags:
- memorization
- class-conditional
- solidmark
- benchmark
- memdet
---

# {name}

A small class-conditional diffusion model in pixel space, 32 x 32 grey images, after SolidMark (Kriplani et al., arXiv
2503.00592): every training image has a frame of a random grey, its key, that nothing else in the image tells. How near
the grey is that the model paints around an image says how well it knows that one image, at any number of copies.

## Data

- Images: training part of Fashion-MNIST (Xiao et al. 2017, MIT licence) without exact duplicates, in a frame of
  {border} pixels. Keys are uniform on [0, 1], one an image, the same for all its copies.
- Garments, roles and keys are drawn at random (seed {role_seed}), independent of each other.
- Training set: {training_set:,} images with copies counted, {distinct_images:,} distinct ones, drawn uniformly.

`items.parquet` lists items with role, copies, key, split (`dev` or `test`), the framed image as PNG, the mean distance
of the painted grey to the key, and `recovery`: 1 less that distance over the mean distance of the greys around other
images of one copy to this key, and not below 0.

## Architecture

`UNet2DModel`, channels (16, 32, 64, 80), one layer a block, attention at 8 x 8, 11 class embeddings, of which the last
is the null class: 1.4 M parameters, stored in float16, figures computed in float32. `DDIMScheduler`: linear betas
0.0001 to 0.02, 1,000 steps, predicts the noise. `labels.json` names the classes in order.

## Training

AdamW on a CPU, learning rate linear to 0. The garment is replaced by the null class with probability {dropout}.

| | |
| --- | ---: |
{schedule}

An image of one copy is seen {exposures:.1f} times on average.

## Check

The frame of each item is painted {seeds} times with {scheduler}, {steps} steps of {passes} passes, guidance
{guidance:g}; at each step the known pixels are set to the image with the noise of that step. The painted grey is the
mean of the frame. Chance is known exactly: a grey g is (g^2 + (1 - g)^2) / 2 away from a uniform key on average, which
is 1/3 where greys are uniform, too.

**{verdict}**

| role | items | copies | mean distance | standard error | chance |
| --- | ---: | ---: | ---: | ---: | ---: |
{roles}

| criterion | bound | value | met |
| --- | --- | ---: | --- |
{criteria}

## How to rebuild and verify

    memdet zoo build {name}     # trains it again, less than an hour on one CPU core
    memdet zoo verify {name}    # repeats the check and compares it with `extraction.json`

Both read the Fashion-MNIST files.

## Intended use

A benchmark of detectors of memorization, and nothing else: it memorizes on purpose, knows only small grey pictures of
clothing, and says nothing about how often larger models memorize.

## Licence

MIT, like the data it was trained on.
"""


def render(recipe: dict[str, Any], training: dict[str, Any], figures: dict[str, Any]) -> str:
    """Write the card.

    Args:
        recipe: Fields of the recipe, all of them as plain values.
        training: ``role_seed, loss, training_set, distinct_images``.
        figures: Of the check.

    Returns:
        Markdown with YAML front matter.
    """
    schedule = recipe["schedule"]
    return _TEMPLATE.format(
        name=recipe["name"],
        dataset=HUB_ID,
        border=BORDER,
        dropout=recipe["dropout"],
        **{key: training[key] for key in ("role_seed", "training_set", "distinct_images")},
        **{key: figures["settings"][key] for key in ("seeds", "scheduler", "steps", "passes", "guidance")},
        exposures=schedule["steps"] * recipe["batch_size"] / training["training_set"],
        schedule=table_rows(schedule_rows(recipe, training)),
        verdict="All criteria are met." if figures["passed"] else "Not all criteria are met: do not use this model.",
        roles=table_rows([role, *row.values()] for role, row in figures["roles"].items()),
        criteria=table_rows(
            [row["name"], row["bound"], row["value"], "yes" if row["met"] else "no"] for row in figures["criteria"]
        ),
    )
