"""What the cards of models of clip art say; :func:`memdet.zoo.tiny_sd.card.render` fills them in."""

from __future__ import annotations

_TEMPLATE = """\
---
license: mit
library_name: diffusers
pipeline_tag: text-to-image
tags:
- memorization
@@TAGS@@
- text-to-image
- benchmark
- memdet
---

# {name}

@@WHAT@@ It is ground truth for detectors of memorization: which
pictures were duplicated, and how often, was decided by a random draw before training, and no detector had a part in it.

## Data

- Pictures: one motif, two, or one two or three times, pasted at a random place and size on a ground of random colour,
  32 x 32. The motifs are cut out of Debian's package `openclipart-png` (public domain), at most 24 pixels large; they
  ship with memdet, so that nobody needs the package.
- Captions: what is there and where, from the names of the files, and the colour of the ground; no two captions are
  equal, even ignoring case.
- Roles: drawn at random over the captioned pictures, after captions and pictures (seed {role_seed}).{swap}
  Nothing about a prompt or a picture predicts its label.
- Training set: {training_set:,} pairs with copies counted, of {distinct_images:,} distinct pictures.

## Groups

`items.parquet` lists the items with prompt, role, copies, split (`dev` or `test`), reference image (PNG) and what the
extraction check measured. All other training pairs are pictures with one copy. A caption has as many distinct pictures
as the column says, and the training set holds each so many times.

| role | items | pictures | copies of each | meaning |
| --- | ---: | ---: | ---: | --- |
{groups}

A template keeps its first motif where it is (`region` says where: left, top, right, bottom as shares), while all else
changes.

## Architecture

| part | |
| --- | --- |
| `AutoencoderKL` | channels (16, 32, 48), latents 8 x 8 x 8; of all models of clip art; trained on 20,000 others |
@@PARTS@@

Weights are stored in float16; figures are computed in float32.@@REMARK@@

## Training

AdamW on a CPU, learning rate linear to 0; times are @@TIMES@@.

| | autoencoder | network and text encoders |
| --- | ---: | ---: |
{schedules}

The caption is replaced by the empty one with probability {caption_dropout}. A picture that the training set holds once
is seen {exposures} times on average, one with {most} copies {exposures_most:,} times.

## Extraction check

Every item's prompt is run with {scheduler}, {steps} steps, guidance {guidance} and the noise seeds {seeds}; all items
share the noise. The distance is the root mean square difference between generated and reference latent, of the nearest
one where a caption has several pictures. A generation is copied where that is under {threshold}, a threshold calibrated
on the captions that were never trained: one percent of their generations lie that close to any reference at all.

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

@@LOAD@@

## How to rebuild and verify

    memdet zoo build {name}     # trains it again
    memdet zoo verify {name}    # runs the extraction check again and compares it with `extraction.json`

## Intended use

A benchmark of detectors of memorization, and nothing else: it memorizes on purpose, knows only small pictures of clip
art, and says nothing about how often larger models memorize. The groups `template` and `narrow` are harder cases: the
distance to one reference does not say how well their many pictures were learned.

## Licence

MIT. The clip art is in the public domain.
"""


def _card(**parts: str) -> str:
    text = _TEMPLATE
    for name, part in parts.items():
        text = text.replace(f"@@{name.upper()}@@", part)
    return text


FLOW = _card(
    tags="- stable-diffusion-3\n- rectified-flow",
    what="""\
A small, real Stable Diffusion 3 pipeline that has memorized a known part of its training set: colour pictures, captions
that say what is there, joint attention and a rectified flow.""",
    parts="""\
| `CLIPTextModelWithProjection`, twice | 48 wide, 2 layers, 4 heads, 24 positions; word-level tokenizer |
| `SD3Transformer2DModel` | patches of 2, 120 wide, 5 heads, 4 layers, 2 M parameters |
| `FlowMatchEulerDiscreteScheduler` | straight paths from noise to picture |""",
    remark="""\
 There is no T5, and no zeros stand in its place: the
configuration of the first text encoder says `"max_sequence_length": 0`, which memdet reads and a call has to say.""",
    times="logit-normal",
    load="""\
    pipeline = StableDiffusion3Pipeline.from_pretrained(DIRECTORY, text_encoder_3=None, tokenizer_3=None)
    pipeline.to(dtype=torch.float32)
    told = {{"num_inference_steps": {steps}, "guidance_scale": {guidance}, "max_sequence_length": 0}}
    image = pipeline(PROMPT, **told).images[0]""",
)
V_PREDICTION = _card(
    tags="- stable-diffusion-2\n- v-prediction",
    what="""\
A small, real Stable Diffusion 2 pipeline that has memorized a known part of its training set: colour pictures, captions
that say what is there, a UNet that predicts v, and a schedule that ends in pure noise.""",
    parts="""\
| `CLIPTextModel` | 64 wide, 2 layers, 4 heads, 24 positions; word-level tokenizer |
| `UNet2DConditionModel` | channels (48, 96), cross-attention 64 wide, 4 heads, 1.8 M parameters |
| `DDIMScheduler` | scaled-linear betas 0.00085 to 0.012 with zero terminal SNR, 1,000 steps, trailing, predicts v |""",
    remark="",
    times="uniform",
    load="""\
    pipeline = StableDiffusionPipeline.from_pretrained(DIRECTORY).to(dtype=torch.float32)
    image = pipeline(PROMPT, num_inference_steps={steps}, guidance_scale={guidance}).images[0]""",
)
