"""Kandinsky 2 and 5: none of their pipelines is read, each for a reason; Kandinsky 3 is a family of its own."""

from memdet.models.diffusers.families.base import Family

_BRING = "bring its network by ScoreModel.from_callable, with an `embed` that"
_EMBEDDINGS = (
    "its network is told an embedding of an image, not text, and another pipeline, the prior, draws that embedding at "
    f"random for each prompt; {_BRING} draws it once a prompt, with a seed of its own"
)
_PRIOR = "it draws embeddings of images, from which another pipeline makes images; it makes none itself"
_IMAGES = "it starts from an image; name the directory of the model's pipeline from text to image"
_PADDED = (
    "its network attends to the padding of texts and is told no mask, so what it predicts for a prompt depends on the "
    f"longest other prompt of a batch; {_BRING} encodes a prompt at a time, and score with a batch size of 1"
)
FAMILY = Family(
    name="kandinsky",
    pipelines=(),
    refused={
        "KandinskyPipeline": _EMBEDDINGS,
        "KandinskyCombinedPipeline": _EMBEDDINGS,
        "KandinskyPriorPipeline": _PRIOR,
        "KandinskyImg2ImgPipeline": _IMAGES,
        "KandinskyInpaintPipeline": _IMAGES,
        "KandinskyV22Pipeline": _EMBEDDINGS,
        "KandinskyV22CombinedPipeline": _EMBEDDINGS,
        "KandinskyV22PriorPipeline": _PRIOR,
        "KandinskyV22Img2ImgPipeline": _IMAGES,
        "KandinskyV22InpaintPipeline": _IMAGES,
        "Kandinsky3Img2ImgPipeline": _IMAGES,
        "Kandinsky5T2IPipeline": _PADDED,
        "Kandinsky5T2VPipeline": _PADDED,
    },
)
