"""A small classifier of garments, by which generations of the planted models are judged: its classes and features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from memdet.errors import UserError
from memdet.io_utils import damaged_weights, weights_root
from memdet.models.garments import CLASSES
from memdet.torch_state import own_state

NAME = "garment-classifier"
WEIGHTS = "model.safetensors"
SIDE = 32
FEATURES = 32
_CHANNELS = (16, 32, 48)


class GarmentNetwork(nn.Module):
    """Three strided convolutions and two linear layers, on grey pictures of 32 x 32."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((1, *_CHANNELS), _CHANNELS, strict=False):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU()]
        side = SIDE // 2 ** len(_CHANNELS)
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(_CHANNELS[-1] * side**2, FEATURES), nn.ReLU())
        self.head = nn.Linear(FEATURES, len(CLASSES))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``[n, 10]`` and features ``[n, 32]`` of images ``[n, 1, 32, 32]`` in [0, 1]."""
        features = self.body(2 * images - 1)
        return self.head(features), features


class GarmentClassifier:
    """Tells which garment a grey picture of 32 x 32 shows.

    It is trained on images that the planted models of such pictures have not seen; the card beside the weights has its
    accuracy.

    Args:
        directory: With the weights; those that ship with memdet if not given.

    Raises:
        UserError: The weights are missing or damaged.
    """

    takes = (1, SIDE, SIDE)
    """Shape of the pictures that it knows."""

    def __init__(self, directory: Path | None = None) -> None:
        file = (directory or weights_root() / NAME) / WEIGHTS
        if directory is None and (damaged := damaged_weights(NAME)) is not None:
            raise UserError(f"{damaged} is not the file that ships with memdet: reinstall memdet")
        self._network = GarmentNetwork()
        try:
            stored: dict[str, Any] = load_file(file)
            self._network.load_state_dict({name: tensor.float() for name, tensor in stored.items()})
        except (OSError, RuntimeError, SafetensorError) as error:
            raise UserError(f"{file} cannot be read ({str(error).splitlines()[0]}): reinstall memdet") from None
        self._network.eval().requires_grad_(requires_grad=False)

    def judge(self, images: Tensor) -> tuple[list[str], Tensor]:
        """The class of each image and its features.

        Args:
            images: ``[n, 1, 32, 32]`` in [0, 1].

        Returns:
            Names, and ``[n, 32]`` in float64.

        Raises:
            UserError: Images of another shape.
        """
        if images.ndim != 4 or tuple(images.shape[1:]) != self.takes:
            raise UserError(f"the classifier of garments takes grey pictures of 32 x 32, not {list(images.shape[1:])}")
        with own_state(grad=False):
            logits, features = self._network(images.float().cpu())
        return [CLASSES[index] for index in logits.argmax(dim=1).tolist()], features.double()
