"""A small trained network in the plane: eps(x, t, condition), to be compared with the closed form it was trained on."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from memdet.errors import UserError
from memdet.given_files import read_json
from memdet.models.base import ScoreModel, time_on
from memdet.models.condition import NAME, Condition
from memdet.models.diffusers.directory import INDEX_FILE, read_index
from memdet.models.diffusers.files import ModelFiles
from memdet.models.schedule import NoiseSchedule
from memdet.torch_state import in_own_state

TOY_CLASS = "MemdetToy"
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
STEPS = 1_000


def toy_schedule() -> NoiseSchedule:
    """Linear betas from 1e-4 to .02 in 1,000 steps, those of the closed form ``mixture-2d``."""
    return NoiseSchedule.from_betas(np.linspace(1e-4, 0.02, STEPS))


class ToyNetwork(nn.Module):
    """Three hidden layers, each scaled and shifted by time and condition.

    Args:
        conditions: How many, the null condition included.
        width: Of the hidden layers.
    """

    def __init__(self, conditions: int, width: int) -> None:
        super().__init__()
        self.condition = nn.Embedding(conditions, width)
        self.time = nn.Linear(32, width)
        self.context = nn.Linear(width, width)
        self.layers = nn.ModuleList([nn.Linear(2, width), nn.Linear(width, width), nn.Linear(width, width)])
        self.modulations = nn.ModuleList([nn.Linear(width, 2 * width) for _ in self.layers])
        self.out = nn.Linear(width, 2)

    def forward(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """Predicted noise at ``x`` ``[batch, 2]`` for timesteps and condition numbers, both int64 ``[batch]``."""
        context = nn.functional.silu(self.time(_waves(t).to(x)) + self.condition(condition))
        context = nn.functional.silu(self.context(context))
        hidden = x
        for layer, modulation in zip(self.layers, self.modulations, strict=True):
            scale, shift = modulation(context).chunk(2, dim=1)
            hidden = nn.functional.silu(layer(hidden) * (1 + scale) + shift)
        output: Tensor = self.out(hidden)
        return output


class ToyModel(ScoreModel):
    """The trained toy network of a directory that ``memdet zoo build toy-2d`` wrote.

    Args:
        directory: Holds ``config.json`` (``conditions`` and ``width``) and ``model.safetensors``.
        name: Shown in tables; the directory's name if not given.
        device: Where the network lives.
        dtype: Of the network; the stored weights are float16.

    Raises:
        UserError: Not such a directory, or weights that do not fit the configuration.
    """

    @in_own_state
    def __init__(
        self,
        directory: Path,
        name: str | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.name = name or directory.name
        self.device, self.dtype, self._directory = torch.device(device), dtype, directory
        self._files = ModelFiles(directory)
        self.schedule, self.prediction_type, self.latent_shape = toy_schedule(), "eps", (2,)
        read_index(directory)
        config = read_json(directory / CONFIG_FILE)
        try:
            self._conditions: list[str] = list(config["conditions"])
            network = ToyNetwork(len(self._conditions) + 1, config["width"])
            network.load_state_dict(load_file(directory / WEIGHTS_FILE))
        except Exception as error:  # missing keys, shapes and broken files come in many classes
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise UserError(f"{directory} cannot be loaded: {reason}") from error
        self._network = network.to(self.device, dtype).eval().requires_grad_(False)

    @property
    def conditions(self) -> list[str]:
        """Names of the conditions; the null condition is not among them."""
        return list(self._conditions)

    def embed(self, conditions: Sequence[str]) -> Condition:
        """Condition numbers, int64 ``[batch]``."""
        unknown = [condition for condition in conditions if condition not in self._conditions]
        if unknown:
            raise UserError(f"{self.name} has no condition {unknown[0]!r}; it knows: {', '.join(self._conditions)}")
        return Condition.of(
            torch.tensor([self._conditions.index(condition) for condition in conditions], device=self.device)
        )

    def embed_null(self) -> Condition:
        """Number of the null condition, int64 ``[1]``."""
        return Condition.of(torch.tensor([len(self._conditions)], device=self.device))

    def predict(self, x: Tensor, t: int, condition: Condition) -> Tensor:
        """One forward of the network."""
        return self.network(x, time_on(x.device, t), **condition.expand(len(x)).tensors)

    def network(self, x: Tensor, t: Tensor, **condition: Tensor) -> Tensor:
        """One forward of the network."""
        output: Tensor = self._network(x, t.expand(len(x)), condition[NAME])
        return output

    def fingerprint(self) -> str:
        """SHA-256 of configuration and weights."""
        import hashlib

        self._files.digests()  # refuses files that are not those that were loaded
        digest = hashlib.sha256()
        for name in (CONFIG_FILE, WEIGHTS_FILE):
            digest.update(name.encode() + (self._directory / name).read_bytes())
        return digest.hexdigest()

    def files(self) -> dict[str, str]:
        """SHA-256 of each file that decides what the model answers."""
        return self._files.digests()


def save_toy(network: ToyNetwork, conditions: Sequence[str], width: int, directory: Path) -> None:
    """Write the files that :class:`ToyModel` reads, the weights in float16."""
    from safetensors.torch import save_file

    directory.mkdir(parents=True, exist_ok=True)
    (directory / INDEX_FILE).write_text(json.dumps({"_class_name": TOY_CLASS}, indent=2) + "\n")
    config = {"conditions": list(conditions), "width": width}
    (directory / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n")
    save_file({name: weight.half() for name, weight in network.state_dict().items()}, directory / WEIGHTS_FILE)


def _waves(t: Tensor) -> Tensor:
    """Sines and cosines of the timestep, ``[batch, 32]`` in float32."""
    rates = torch.exp(-math.log(10_000) * torch.arange(16, dtype=torch.float32, device=t.device) / 16)
    angles = t[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)
