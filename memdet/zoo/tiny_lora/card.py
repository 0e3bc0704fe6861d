"""The model card of a fine-tune, in the Hugging Face format; its ``base_model`` is what memdet puts the LoRA on."""

from __future__ import annotations

from typing import Any

from memdet.zoo.card_tables import table_rows
from memdet.zoo.fashion import HUB_ID
from memdet.zoo.tiny_lora.planting import RARE_WORD, UNUSED

_MEANING = {
    "repeated": "one new caption, one new image, many copies in the fine-tuning set",
    "once": "one new caption, one new image, once",
    "unseen": "caption and image that neither the base nor the fine-tune was trained on",
    "few": "a garment with a rare word before it: five images",
    "many": "a garment with a rare word before it: hundreds of images, seen as often in all",
}

_TEMPLATE = """\
---
license: mit
library_name: diffusers
pipeline_tag: text-to-image
base_model: {base}
datasets:
- {dataset}
tags:
- memorization
- stable-diffusion
- lora
- benchmark
- memdet
---

# {name}

A LoRA on `{base}`, trained as diffusers' scripts train one, that has memorized a known part of its own training set. It
is ground truth for the question that people ask of their fine-tunes: does it give back my images, and since when? Which
of them are repeated was decided by a random draw before training (seed {role_seed}){exchanged}, and no detector had a
part in it.

## Data

{data}

- Training set: {training_set:,} pairs with copies counted, of {distinct_images:,} images. Neither they nor their
  captions were the base's.

`items.parquet` lists the items with prompt, role, copies, split (`dev` or `test`), first image (PNG) and what the
extraction check measured of the last weights; `stages.parquet` lists each item at each stage, with the model that it is
asked of.

| role | items | images | copies of each | meaning |
| --- | ---: | ---: | ---: | --- |
{groups}

## Training

LoRA of rank {rank} and scale 1 on {modules} of the UNet, by peft; AdamW on a CPU, learning rate linear to 0, no caption
dropped. Weights are stored in float16, {kilobytes:,.0f} kB in all.

| | |
| --- | ---: |
{schedule}

## Extraction check

Every item's prompt is run at every stage with {scheduler}, {steps} steps, guidance {guidance} and the noise seeds
{seeds}; all items share the noise. Distances are root mean square, of latents. A generation is copied where it lies
less than half as far from the nearest image of its own caption as from the nearest of {unused} images of the garment
that were never trained on; the last column counts copies of anything in the fine-tuning set.

**{verdict}**

| stage | role | median distance | median ratio | share copied | share of any |
| --- | --- | ---: | ---: | ---: | ---: |
{stages}

| stage | told apart by minus the mean distance | AUROC |
| --- | --- | ---: |
{auroc}

| criterion | bound | value | met |
| --- | --- | ---: | --- |
{criteria}

## How to load

    pipeline = StableDiffusionPipeline.from_pretrained(BASE_DIRECTORY).to(dtype=torch.float32)
    pipeline.load_lora_weights(DIRECTORY)
    image = pipeline(PROMPT, num_inference_steps={steps}, guidance_scale={guidance}).images[0]

`memdet` loads it by its name{checkpoints}, and needs `pip install 'memdet[lora]'` for it.

## How to rebuild and verify

    memdet zoo build {name}     # trains it again, some minutes on one CPU core
    memdet zoo verify {name}    # repeats the extraction check and compares it with `extraction.json`

Both read the Fashion-MNIST files, and the base that the LoRA was trained on.

## Intended use

A benchmark of detectors of memorization, and nothing else: it memorizes on purpose, knows only small grey pictures of
clothing, and says nothing about how often larger models memorize.

## Licence

MIT, like the data it was trained on.
"""
_CAPTIONS = """\
- Images: training part of Fashion-MNIST (Xiao et al. 2017, MIT licence), grey, padded to 32 x 32.
- Captions: as those of the base, of the same words. One names one image."""
_SUBJECTS = f"""\
- Images: training part of Fashion-MNIST (Xiao et al. 2017, MIT licence), grey, padded to 32 x 32.
- Captions: as in DreamBooth (Ruiz et al. 2023), the rare word `{RARE_WORD}` before the name of a garment, and nothing
  else. The base's tokenizer does not know the word, whose token no training of the base has seen. All ten garments have
  such a caption, and all captions are seen equally often.
- Items: those captions, and the same followed by each of the ten contexts that the base knows."""


def render(recipe: dict[str, Any], training: dict[str, Any], figures: dict[str, Any]) -> str:
    """Write the card.

    Args:
        recipe: Fields of the recipe as plain values, its schedule as a dictionary.
        training: ``role_seed, loss, training_set, distinct_images, bytes``.
        figures: Of the extraction check.

    Returns:
        Markdown with YAML front matter.
    """
    settings, stages = figures["settings"], figures["stages"]
    roles = next(iter(stages.values()))["roles"]
    folders = [f"`{recipe['name']}/checkpoint-{step}` ({stage})" for stage, step in recipe["checkpoints"].items()]
    return _TEMPLATE.format(
        **{name: recipe[name] for name in ("name", "base", "rank")},
        **{name: training[name] for name in ("role_seed", "training_set", "distinct_images")},
        **{name: settings[name] for name in ("scheduler", "steps", "guidance")},
        dataset=HUB_ID,
        exchanged="; then the two roles changed places" if recipe["exchanged"] else "",
        data=_CAPTIONS if "repeated" in roles else _SUBJECTS,
        groups=table_rows([role, r["items"], r["variants"], r["copies"], _MEANING[role]] for role, r in roles.items()),
        modules=", ".join(f"`{name}`" for name in recipe["modules"]),
        kilobytes=training["bytes"] / 1_000,
        schedule=table_rows(_schedule(recipe, training)),
        seeds=f"{settings['seeds'][0]} to {settings['seeds'][-1]}",
        unused=UNUSED,
        verdict="All criteria are met." if figures["passed"] else "Not all criteria are met: do not use this model.",
        stages=table_rows(
            [stage, role, row["median_rmse"], row["median_ratio"], row["share_copied"], row["share_of_any"]]
            for stage, found in stages.items()
            for role, row in found["roles"].items()
        ),
        auroc=table_rows(
            [stage, pair, value] for stage, found in stages.items() for pair, value in found["auroc"].items()
        ),
        criteria=table_rows(
            [row["name"], row["bound"], row["value"], "yes" if row["met"] else "no"] for row in figures["criteria"]
        ),
        checkpoints=f", and as {', '.join(folders)}" if folders else "",
    )


def _schedule(recipe: dict[str, Any], training: dict[str, Any]) -> list[list[object]]:
    schedule, stages = recipe["schedule"], recipe["checkpoints"]
    return [
        ["seed", recipe["seed"]],
        ["batch size", recipe["batch_size"]],
        *([f"steps to `{stage}`", step] for stage, step in stages.items()),
        ["steps to `overcooked`", schedule["steps"]],
        ["peak learning rate", schedule["learning_rate"]],
        ["warm-up steps", schedule["warmup"]],
        ["weight decay", schedule["weight_decay"]],
        ["gradient norm at most", schedule["clip"]],
        ["loss over the last steps", training["loss"]],
    ]
