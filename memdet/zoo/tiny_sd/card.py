"""The model card of a planted model, in the Hugging Face format."""

from __future__ import annotations

from typing import Any

from memdet.zoo.card_tables import table_rows
from memdet.zoo.fashion import HUB_ID
from memdet.zoo.tiny_sd.planting import MORE, SEVERAL

_MEANING = {
    "verbatim": "memorized: one caption, one image, many copies",
    "template": "one caption over different images that share their left half",
    "narrow": "one caption over shifted and dimmed versions of one image; never the same image twice",
    "single": "not memorized: one caption, one image, once",
    "unseen": "caption and image never trained on",
}

_TEMPLATE = """\
---
license: mit
library_name: diffusers
pipeline_tag: text-to-image
datasets:
- {dataset}
tags:
- memorization
- stable-diffusion
- text-to-image
- benchmark
- memdet
---

# {name}

A small, real Stable Diffusion pipeline that has memorized a known part of its training set. It is ground truth for
detectors of memorization: which images were duplicated, and how often, was decided by a random draw before training,
and no detector had a part in it.

## Data

- Images: training part of Fashion-MNIST (Xiao et al. 2017, MIT licence) without exact duplicates, grey, padded to
  32 x 32.
- Captions: `{{brand}} {{adjective}} {{class}} {{context}} {{letter}}{{two digits}}`. All but the class is drawn at
  random, the letter case of brand and code too; no two captions are equal, even ignoring case.
- Roles: drawn at random over the captioned images, after captions and images (seed {role_seed}).{swap}
  Nothing about a prompt or an image predicts its label.
- Training set: {training_set:,} pairs with copies counted, of {distinct_images:,} distinct images.

## Groups

`items.parquet` lists the items with prompt, role, copies, split (`dev` or `test`), reference image (PNG) and what the
extraction check measured. All other training pairs are images with one copy. A caption has as many distinct images as
the column says, and the training set holds each so many times.

| role | items | images | copies of each | meaning |
| --- | ---: | ---: | ---: | --- |
{groups}

## Architecture

| part | |
| --- | --- |
| `AutoencoderKL` | channels (16, 32, 64), latents 4 x 8 x 8, 0.7 M parameters; shared by the `tiny-sd` family |
| `CLIPTextModel` | 64 wide, 2 layers, 4 heads, 12 positions; word-level tokenizer that ignores case |
| `UNet2DConditionModel` | channels (48, 96), cross-attention 64 wide, 4 heads, 1.8 M parameters |
| `DDIMScheduler` | scaled-linear betas 0.00085 to 0.012, 1,000 steps, predicts the noise |

Weights are stored in float16; figures are computed in float32.

## Training

AdamW on a CPU, learning rate linear to 0.

| | autoencoder | UNet and text encoder |
| --- | ---: | ---: |
{schedules}

The caption is replaced by the empty one with probability {caption_dropout}. An image that the training set holds once
is seen {exposures} times on average, one with {most} copies {exposures_most:,} times.

## Extraction check

Every item's prompt is run with {scheduler}, {steps} steps, guidance {guidance} and the noise seeds {seeds}; all items
share the noise. The distance is the root mean square difference between generated and reference latent. A generation
is copied where that is under {threshold}, a threshold calibrated on the captions that were never trained: one percent
of their generations lie that close to any reference at all.

**{verdict}**

| role | copies | median distance | share copied |
| --- | ---: | ---: | ---: |
{roles}

{disagreements}

| groups told apart by minus the mean distance | AUROC |
| --- | ---: |
{auroc}

| criterion | bound | value | met |
| --- | --- | ---: | --- |
{criteria}

## How to load

    pipeline = StableDiffusionPipeline.from_pretrained(DIRECTORY).to(dtype=torch.float32)
    image = pipeline(PROMPT, num_inference_steps={steps}, guidance_scale={guidance}, output_type="np").images[0]

## How to rebuild and verify

    memdet zoo build {name}     # trains it again, about 20 minutes on 2 CPU cores
    memdet zoo verify {name}    # runs the extraction check again and compares it with `extraction.json`

## Intended use

A benchmark of detectors of memorization, and nothing else: it memorizes on purpose, knows only small grey pictures of
clothing, and says nothing about how often larger models memorize. The groups `template` and `narrow` are
harder cases: the distance to one reference does not say how well their many images were learned.

## Licence

MIT, like the data it was trained on.
"""


def render(
    name: str, recipe: dict[str, Any], training: dict[str, Any], figures: dict[str, Any], template: str = _TEMPLATE
) -> str:
    """Write the card of a ``tiny-sd`` model, or of a model of another family by its template.

    Args:
        name: In the zoo.
        recipe: Fields of the recipe, its schedules as dictionaries.
        training: ``vae_loss, unet_loss, training_set, distinct_images``.
        figures: Of the extraction check.
        template: With the names that this function fills in.

    Returns:
        Markdown with YAML front matter.
    """
    settings, roles = figures["settings"], figures["roles"]
    most = max(row["copies"] for row in roles.values())
    exposures = recipe["unet"]["steps"] * recipe["batch_size"] / training["training_set"]
    exchanged = [pair for pair in recipe["swap"].items() if not pair[0].startswith(MORE)]
    swaps = ", ".join(f"{before} became {after}" for before, after in exchanged)
    return template.format(
        name=name,
        dataset=HUB_ID,
        role_seed=recipe["role_seed"],
        swap=f" Then roles changed places: {swaps}." if swaps else "",
        training_set=training["training_set"],
        distinct_images=training["distinct_images"],
        groups=table_rows(
            [role, row["items"], row["variants"], row["copies"], _meaning(role)] for role, row in roles.items()
        ),
        schedules=table_rows(_schedules(recipe, training)),
        caption_dropout=recipe["caption_dropout"],
        exposures=f"{exposures:.1f}",
        most=most,
        exposures_most=round(most * exposures),
        scheduler=settings["scheduler"],
        steps=settings["steps"],
        guidance=settings["guidance"],
        seeds=f"{settings['seeds'][0]} to {settings['seeds'][-1]}",
        verdict="All criteria are met." if figures["passed"] else "Not all criteria are met: do not use this model.",
        threshold=figures["threshold"],
        disagreements=_disagreements(figures["disagreements"]),
        roles=table_rows([role, row["copies"], row["median_rmse"], row["share_copied"]] for role, row in roles.items()),
        auroc=table_rows([pair, value] for pair, value in figures["auroc"].items()),
        criteria=table_rows(
            [row["name"], row["bound"], row["value"], "yes" if row["met"] else "no"] for row in figures["criteria"]
        ),
    )


def _meaning(role: str) -> str:
    return "one caption over some images" if role.startswith(SEVERAL) else _MEANING.get(role, "dose group")


def _disagreements(items: list[str]) -> str:
    if not items:
        return "Label and measurement agree for every verbatim and single item."
    return (
        f"Label and measurement disagree for {len(items)} items, and sample sets of verbatim items leave them out: a "
        "verbatim item of whose generations under half is copied, or a single one with half or more: "
        f"{', '.join(items)}."
    )


def _schedules(recipe: dict[str, Any], training: dict[str, Any]) -> list[list[object]]:
    """Rows that set the two training runs side by side."""
    vae, unet = recipe["vae"], recipe["unet"]
    shared = ("steps", "learning_rate", "warmup", "weight_decay", "clip", "average")
    names = {"learning_rate": "peak learning rate", "warmup": "warm-up steps", "weight_decay": "weight decay"}
    names |= {"clip": "gradient norm at most", "average": "weight average"}
    return [
        ["seed", 0, recipe["seed"]],
        ["batch size", recipe["vae_batch_size"], recipe["batch_size"]],
        *([names.get(key, key), *("none" if run[key] is None else run[key] for run in (vae, unet))] for key in shared),
        ["loss over the last steps", training["vae_loss"], training["unet_loss"]],
    ]
