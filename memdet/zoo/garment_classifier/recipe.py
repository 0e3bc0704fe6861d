"""Trains the classifier of garments on images that the models whose generations it judges have not seen.

``python -m memdet.zoo.garment_classifier.recipe OUT`` builds it; minutes of one core.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch.nn.functional import cross_entropy

from memdet.io_utils import weights_root, write_bytes, write_text
from memdet.models.diffusers.training_images import read_training_images
from memdet.models.garment_classifier import NAME, SIDE, WEIGHTS, GarmentClassifier, GarmentNetwork
from memdet.models.garments import CLASSES
from memdet.torch_state import in_own_state
from memdet.zoo.fashion import load_fashion_mnist, pad_to_32
from memdet.zoo.training import Schedule, round_to_half, train

MODELS = ("tiny-sd-a", "tiny-sd-b")
"""Planted models of grey garments of 32 x 32, whose training images are kept out."""
CARD, FIGURES = "README.md", "accuracy.json"
LEAST = 0.85  # accuracy on images that it was not trained on
SEED = 20261130


@dataclass(frozen=True)
class Recipe:
    """How it is trained.

    Attributes:
        steps: Updates.
        batch: Images of one.
        rate: Learning rate.
        held: Share of the unseen images on which accuracy is measured, and which it is not trained on.
    """

    steps: int = 1_500
    batch: int = 128
    rate: float = 2e-3
    held: float = 0.25


def unseen(images: NDArray[np.uint8], models: tuple[str, ...] = MODELS) -> NDArray[np.int64]:
    """Which images of Fashion-MNIST some planted models have not seen, in any part.

    Half of an image may be half of a training image, as in the planted templates: an image counts as seen where its
    left or its right half is one of a training image, or where it is an item of a model.

    Args:
        images: ``[n, 28, 28]``.
        models: Planted models that ship with memdet, of pictures of 32 x 32.

    Raises:
        ValueError: A model of smaller pictures, in which nothing of these is found again.
    """
    padded, half = pad_to_32(images), SIDE // 2
    seen: set[bytes] = set()
    items: set[int] = set()
    for name in models:
        directory = weights_root() / name
        known = (read_training_images(directory)[:, 0] * 255).round().to(torch.uint8).numpy()
        if known.shape[1:] != padded.shape[1:]:
            raise ValueError(f"{name} knows pictures of {known.shape[1:]}, not {padded.shape[1:]}")
        seen |= {part.tobytes() for image in known for part in (image[:, :half], image[:, half:])}
        table = pd.read_parquet(directory / "items.parquet")
        items |= set(table.get("source_index", pd.Series(dtype=int)).tolist())
    seen.discard(np.zeros((SIDE, half), dtype=np.uint8).tobytes())  # half of many a narrow garment
    kept = [
        index
        for index, image in enumerate(padded)
        if index not in items and not any(part.tobytes() in seen for part in (image[:, :half], image[:, half:]))
    ]
    return np.array(kept)


@in_own_state
def build(out: Path, data: Path | None = None, recipe: Recipe | None = None) -> dict[str, float | int]:
    """Train and measure it, and write weights, figures and card.

    Args:
        out: Directory.
        data: Of the original Fashion-MNIST files; without it they are looked for.
        recipe: How; the shipped one if not given.

    Returns:
        ``accuracy``, ``trained``, ``held`` and ``parameters``.
    """
    recipe = recipe or Recipe()
    images, labels = load_fashion_mnist(data)
    order = np.random.default_rng(SEED).permutation(unseen(images))
    n_held = int(recipe.held * len(order))
    held, kept = order[:n_held], order[n_held:]
    torch.manual_seed(SEED)
    network = GarmentNetwork()
    pixels = torch.from_numpy(pad_to_32(images)).float()[:, None] / 255
    classes = torch.from_numpy(labels)

    def loss_of(step: int, generator: torch.Generator) -> torch.Tensor:
        rows = torch.from_numpy(kept)[torch.randint(len(kept), (recipe.batch,), generator=generator)]
        batch = pixels[rows]
        flipped = torch.rand(len(batch), generator=generator) < 0.5
        batch = torch.where(flipped[:, None, None, None], batch.flip(3), batch)
        return cross_entropy(network(batch)[0], classes[rows])

    schedule = Schedule(recipe.steps, learning_rate=recipe.rate, warmup=50, average=0.99)
    train([network], loss_of, schedule, seed=SEED, checkpoint=out / "checkpoint.pt", label=NAME)
    (out / "checkpoint.pt").unlink()
    round_to_half(network)
    weights = {name: tensor.half() for name, tensor in network.state_dict().items()}
    write_bytes(out / WEIGHTS, save(weights))
    return _measured(out, pixels[held], labels[held], len(kept), sum(tensor.numel() for tensor in weights.values()))


def _measured(
    out: Path, images: torch.Tensor, labels: NDArray[np.int64], trained: int, parameters: int
) -> dict[str, float | int]:
    """Accuracy of the written weights on images that were held out, with their card."""
    told, _ = GarmentClassifier(out).judge(images)
    found = np.array([CLASSES.index(name) for name in told])
    by_class = {name: float((found == labels)[labels == number].mean()) for number, name in enumerate(CLASSES)}
    accuracy = float((found == labels).mean())
    figures: dict[str, float | int] = {
        "accuracy": round(accuracy, 4),
        "trained": trained,
        "held": len(labels),
        "parameters": parameters,
    }
    content = figures | {"by_class": {name: round(value, 4) for name, value in by_class.items()}}
    write_text(out / FIGURES, json.dumps(content, indent=2) + "\n")
    write_text(out / CARD, _card(figures, by_class))
    return figures


def _card(figures: dict[str, float | int], by_class: dict[str, float]) -> str:
    rows = "\n".join(f"| {name} | {value:.3f} |" for name, value in by_class.items())
    return f"""\
# garment-classifier

Tells which of the ten garments of Fashion-MNIST a grey picture of 32 x 32 shows. `memdet mitigate` asks it whether a
generation shows what its caption names, and takes its last {32} features for the kernel distance (KID).

Trained on {figures["trained"]:,} images of the original training set of Fashion-MNIST (Xiao et al. 2017, MIT licence)
that {" and ".join(MODELS)} have not seen in any part: neither half of them is half of a training image. (The
pixel models of 16 x 16, which it does not judge, were trained on smaller versions of some.) Judged on
{figures["held"]:,} further ones of them.

| garment | accuracy |
| --- | --- |
{rows}
| all | {figures["accuracy"]:.3f} |

Chance is .100. {figures["parameters"]:,} parameters in float16: three convolutions of stride 2 and two linear layers.
Mirrored images are among those that it was trained on. Shirts, T-shirts, pullovers and coats are hard to tell apart at
this size, for people too; a difference between two mitigations is what to look at.

`python -m memdet.zoo.garment_classifier.recipe OUT` trains it again.
"""


if __name__ == "__main__":
    made = build(Path(sys.argv[1]))
    print(json.dumps(made))
    sys.exit(0 if made["accuracy"] >= LEAST else 1)
