"""The model card of ``tiny-ddpm``, in the Hugging Face format."""

from __future__ import annotations

from typing import Any

from memdet.zoo.card_tables import schedule_rows, table_rows
from memdet.zoo.tiny_ddpm.extraction import HALF, KEPT, NEW

_TEMPLATE = """\
---
license: mit
library_name: diffusers
pipeline_tag: unconditional-image-generation
tags:
- memorization
- unconditional
- benchmark
- memdet
---

# {name}

A small, real, unconditional diffusion pipeline in pixel space, 32 x 32 in colour, that has memorized a known part of
its training set. It is ground truth for detectors of memorization that need no condition: which pictures the training
set holds many times was decided by a random draw before training, and no detector had a part in it.

## Data

- Pictures: one motif, two, or one two or three times, pasted at a random place and size on a ground of random colour.
  The motifs are cut out of Debian's package `openclipart-png` (public domain); they ship with memdet.
- Roles: drawn at random after the pictures (seed {role_seed}). Nothing about a picture predicts its label.
- Training set: {training_set:,} pictures with copies counted, {distinct_images:,} distinct ones, drawn uniformly.
  {unseen:,} others (`unseen`) and {unused:,} more (unused, what chance is measured by) are drawn alike and never
  trained on.

`items.parquet` lists pictures with role, copies, split (`dev` or `test`), the picture as PNG and the share of all
generations that copy it. `generated.parquet` holds up to {kept} generations of the check of each kind as PNG: role
`copied`, and `new` where the ratio below is at least {new}.

## Architecture

`UNet2DModel`, channels (16, 32, 64, 80), one layer a block, attention at 8 x 8: 1.4 M parameters, stored in float16,
figures computed in float32. `DDPMScheduler`: linear betas 0.0001 to 0.02, 1,000 steps, predicts the noise.

## Training

AdamW on a CPU, learning rate linear to 0.

| | |
| --- | ---: |
{schedule}

A picture that the training set holds once is seen {exposures:.1f} times on average.

## Extraction check

{generations:,} pictures are generated with {scheduler} and {steps} steps, from the noise seeds 0 to {last}. Distances
are root mean square on the scale from -1 to 1. A generation is copied where it lies less than {half} as far from the
nearest training picture as from the nearest unused one. The same rule with training and unused pictures exchanged,
under which every copy is an error, finds {mirrored}.

**{verdict}**

| role | pictures | copies of each | share of the training set | share of generations that copy it | pictures copied |
| --- | ---: | ---: | ---: | ---: | ---: |
{roles}

| criterion | bound | value | met |
| --- | --- | ---: | --- |
{criteria}

## How to load

    pipeline = DDPMPipeline.from_pretrained(DIRECTORY).to(dtype=torch.float32)
    image = pipeline(num_inference_steps=1000).images[0]

## How to rebuild and verify

    memdet zoo build {name}     # trains it again, about an hour on one CPU core
    memdet zoo verify {name}    # repeats the extraction check and compares it with `extraction.json`

## Intended use

A benchmark of detectors of memorization, and nothing else: it memorizes on purpose, knows only small pictures of clip
art, and says nothing about how often larger models memorize.

## Licence

MIT. The clip art is in the public domain.
"""


def render(recipe: dict[str, Any], training: dict[str, Any], figures: dict[str, Any]) -> str:
    """Write the card.

    Args:
        recipe: Fields of the recipe, all of them as plain values.
        training: ``role_seed, loss, training_set, distinct_images, unused, unseen``.
        figures: Of the extraction check.

    Returns:
        Markdown with YAML front matter.
    """
    settings, schedule = figures["settings"], recipe["schedule"]
    return _TEMPLATE.format(
        name=recipe["name"],
        **{key: training[key] for key in ("role_seed", "training_set", "distinct_images", "unused", "unseen")},
        **{key: settings[key] for key in ("generations", "scheduler", "steps")},
        kept=KEPT,
        new=NEW,
        half=HALF,
        last=settings["generations"] - 1,
        exposures=schedule["steps"] * recipe["batch_size"] / training["training_set"],
        schedule=table_rows(schedule_rows(recipe, training)),
        mirrored=figures["mirrored"]["share_copied"],
        verdict="All criteria are met." if figures["passed"] else "Not all criteria are met: do not use this model.",
        roles=table_rows([role, *row.values()] for role, row in figures["roles"].items()),
        criteria=table_rows(
            [row["name"], row["bound"], row["value"], "yes" if row["met"] else "no"] for row in figures["criteria"]
        ),
    )
