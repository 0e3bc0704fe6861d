"""The model card of a class-conditional pixel model, in the Hugging Face format."""

from __future__ import annotations

from typing import Any

from memdet.zoo.card_tables import table_rows
from memdet.zoo.fashion import HUB_ID

_MEANING = {
    "memorized": "memorized: a single image, many copies",
    "broad": "not memorized: many images, once each",
    "images-1": "memorized: one image",
    "images-3": "memorized: three images, all of which the label recalls",
    "images-10": "memorized: ten images",
    "concentrated": "ten images, seen too seldom to be copied: a narrow density without memorization",
    "images-1000": "not memorized: many images; labels twice as frequent as those of `concentrated`",
}

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
- benchmark
- memdet
---

# {name}

A small class-conditional diffusion model in pixel space, 16 x 16 grey images (256 dimensions: exact spectra of its
Jacobian are within reach), that has memorized a known part of its training set. {purpose}

## Data

- Images: training part of Fashion-MNIST (Xiao et al. 2017, MIT licence) without exact duplicates, padded to 32 x 32 and
  halved by the mean of each 2 x 2 block.
- Labels, their garments and their images are drawn at random (seed {data_seed}). No image is under two labels.
- Training set: {training_set:,} images with copies counted, {distinct_images:,} distinct ones, drawn uniformly.
  {exposures}

`items.parquet` lists the labels with role, images, copies, garment, split (`dev` or `test`) and what the extraction
check measured. `images.parquet` holds the training images of labels with few of them.{generated}

| role | labels | images of each | copies of each image | meaning |
| --- | ---: | ---: | ---: | --- |
{groups}

## Architecture

`UNet2DModel`, channels (32, 64, 64), one layer a block, attention at 8 x 8, {classes} class embeddings, of which the
last is the null class: 1.1 M parameters, stored in float16, figures computed in float32. `DDIMScheduler`: linear betas
0.0001 to 0.02, 1,000 steps, predicts the noise. `labels.json` names the classes in order.

## Training

AdamW on a CPU, learning rate linear to 0. The label is replaced by the null class with probability {dropout}.

| | |
| --- | ---: |
{schedule}

## Extraction check

Each label is sampled {seeds} times with {scheduler}, {steps} steps, guidance {guidance}; all labels share the noise of
a seed. Distances are root mean square on the scale from -1 to 1: to the nearest training image of the label, and their
ratio to the distance to the nearest of 1,500 images of the same garment that were never trained on. A generation is
copied where that ratio is under a half.{remark}

**{verdict}**

| role | median distance | median ratio | share copied | median share of a label |
| --- | ---: | ---: | ---: | ---: |
{roles}

| criterion | bound | value | met |
| --- | --- | ---: | --- |
{criteria}
{symmetry}
## How to rebuild and verify

    memdet zoo build {name}     # trains it again
    memdet zoo verify {name}    # repeats the extraction check and compares it with `extraction.json`

Both read the Fashion-MNIST files. The network needs `class_labels`, which diffusers' `DDIMPipeline` does not pass on;
load it with `memdet.load_model`, or take the `unet` and `scheduler` of the pipeline.

## Intended use

A benchmark of detectors of memorization, and nothing else: it memorizes on purpose, knows only small grey pictures of
clothing, and says nothing about how often larger models memorize.

## Licence

MIT, like the data it was trained on.
"""

_SYMMETRY = """
## Symmetry of the Jacobian

The Hessian of a log density is symmetric, the Jacobian of a trained network only nearly so. Shown is the median of
`|| J - J^T || / || J + J^T ||` (Frobenius norms, exact Jacobians of the conditional branch at noisy training images),
by timestep. The further rows are networks trained on from this one for {steps} steps at learning rate {learning_rate},
on the same batches, without and with the second-order score-matching term `|| sigma^2 H + I - l l^T ||_F^2 / d` of
weight {weight} in the loss; their weights are not kept.

| network | {timesteps} |
| --- | {rules} |
{rows}
"""


def render(recipe: dict[str, Any], training: dict[str, Any], figures: dict[str, Any]) -> str:
    """Write the card of a pixel model.

    Args:
        recipe: Fields of the recipe, all of them as plain values.
        training: ``loss, training_set, distinct_images`` and, where it was measured, ``second_order``.
        figures: Of the extraction check.

    Returns:
        Markdown with YAML front matter.
    """
    settings, roles = figures["settings"], figures["roles"]
    labels = sum(row["labels"] for row in roles.values())
    each = recipe["schedule"]["steps"] * recipe["batch_size"] / training["training_set"]
    single = "memorized" in roles
    return _TEMPLATE.format(
        name=recipe["name"],
        dataset=HUB_ID,
        purpose=_PROTOCOL if single else _MULTI,
        data_seed=recipe["data_seed"],
        training_set=training["training_set"],
        distinct_images=training["distinct_images"],
        exposures=_exposures(each, roles),
        generated=_GENERATED if single else "",
        groups=table_rows([role, r["labels"], r["variants"], r["copies"], _MEANING[role]] for role, r in roles.items()),
        classes=labels + 1,
        dropout=recipe["dropout"],
        schedule=table_rows(_schedule(recipe, training)),
        **{key: settings[key] for key in ("seeds", "scheduler", "steps", "guidance")},
        remark=_REMARK if single else "",
        verdict="All criteria are met." if figures["passed"] else "Not all criteria are met: do not use this model.",
        roles=table_rows(
            [role, *(r[key] for key in ("median_rmse", "median_ratio", "share_copied", "median_rate"))]
            for role, r in roles.items()
        ),
        criteria=table_rows(
            [row["name"], row["bound"], row["value"], "yes" if row["met"] else "no"] for row in figures["criteria"]
        ),
        symmetry=_symmetry(training["second_order"], figures["asymmetry"]) if figures["asymmetry"] else "",
    )


_PROTOCOL = """\
It repeats the
protocol of the MNIST experiment of Jeon et al. (arXiv 2412.04140): one class of many images, one class of a single
image. The null branch is all but the broad class, so that whatever compares the branches saturates here: the model
reproduces a paper, it does not rank detectors."""
_MULTI = """\
It asks what
detectors see where one condition recalls several images. Which label has which role was decided by a random draw before
training, and no detector had a part in it."""
_GENERATED = """
`generated.parquet` holds the generations of the check as PNG: role `memorized` are copies, `broad` is the half of the
broad class that lies farthest from its training images, `between` are all others."""
_REMARK = """ The rule is that of `fashion-multi`, and was taken over
after a first check had been seen: the distance alone, held against the closest one percent of the broad class's
generations, called a fifth of the memorized class's generations copies, since guidance makes them brighter than the
image they copy."""


def _exposures(each: float, roles: dict[str, dict[str, Any]]) -> str:
    parts = [f"{each * row['copies']:,.0f} times (`{role}`)" for role, row in roles.items()]
    return f"One image is seen about {', '.join(parts)}."


def _schedule(recipe: dict[str, Any], training: dict[str, Any]) -> list[list[object]]:
    schedule = recipe["schedule"]
    return [
        ["seed", recipe["seed"]],
        ["batch size", recipe["batch_size"]],
        ["steps", schedule["steps"]],
        ["peak learning rate", schedule["learning_rate"]],
        ["weight decay", schedule["weight_decay"]],
        ["gradient norm at most", schedule["clip"]],
        ["weight average", schedule["average"]],
        ["weight of the second-order term", recipe["second_order_weight"]],
        ["loss over the last steps", training["loss"]],
    ]


def _symmetry(trial: dict[str, Any], asymmetry: dict[str, float]) -> str:
    timesteps = list(asymmetry)
    rows = {"this one": asymmetry}
    rows |= {f"trained on {kind} the term": trial["asymmetry"][kind] for kind in ("without", "with")}
    return _SYMMETRY.format(
        **{key: trial[key] for key in ("steps", "learning_rate", "weight")},
        timesteps=" | ".join(f"t = {t}" for t in timesteps),
        rules=" | ".join(["---:"] * len(timesteps)),
        rows=table_rows([name, *values.values()] for name, values in rows.items()),
    )
