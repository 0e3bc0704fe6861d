"""Kandinsky: none of its pipelines is read, each for a reason."""

from memdet.models.diffusers.families.base import Family

_PADDED = "its network reads the padding of texts, so what it predicts depends on the other prompts of a batch"
_EMBEDDINGS = "its network is told an embedding of an image that another pipeline draws, not text"
FAMILY = Family(
    name="kandinsky",
    pipelines=(),
    refused={
        "KandinskyPipeline": _EMBEDDINGS,
        "KandinskyCombinedPipeline": _EMBEDDINGS,
        "KandinskyV22Pipeline": _EMBEDDINGS,
        "KandinskyV22CombinedPipeline": _EMBEDDINGS,
        "Kandinsky3Pipeline": _PADDED,
        "Kandinsky5T2IPipeline": _PADDED,
        "Kandinsky5T2VPipeline": _PADDED,
    },
)
