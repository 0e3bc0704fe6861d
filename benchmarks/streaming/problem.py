"""Distinct prompts of mixed lengths, and a network of fixed cost that takes any prompt."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from memdet.models import Condition, NoiseSchedule, ScoreModel

VOCABULARY = 30_000
CHANNELS = 16
EMBEDDING = 32
SYLLABLES = [first + second for first in "bcdfghjklmnprstvw" for second in ("a", "e", "i", "o", "u", "ar", "en", "il")]


def write_samples(path: Path, n: int, seed: int = 0) -> None:
    """Write ``n`` distinct prompts, every other one memorized, as the command line takes them.

    Words are drawn by Zipf's law, 3 to 60 of them, half of the prompts with fewer than 12. Memorized prompts have more
    capitals, as captions of products do, so that the text controls find something.
    """
    rng = np.random.default_rng(seed)
    words = np.array(["".join(rng.choice(SYLLABLES, rng.integers(1, 5))) for _ in range(VOCABULARY)])
    reach = np.cumsum(1 / np.arange(2, VOCABULARY + 2))
    with path.open("w", encoding="utf-8") as file:
        for index in range(n):
            length = min(60, 3 + int(rng.exponential(12)))
            chosen = words[np.searchsorted(reach, rng.random(length) * reach[-1])].tolist()
            if index % 2:
                chosen = [word.capitalize() if rng.random() < 0.3 else word for word in chosen]
            line = {"prompt": " ".join([*chosen, f"no. {index}"]), "memorized": index % 2, "id": f"prompt-{index:06d}"}
            file.write(json.dumps(line) + "\n")


class HashedPrompts(ScoreModel):
    """Convolutions over latents of Stable Diffusion's size, moved by a hash of the prompt.

    The cost of a row is the same for every prompt, timestep and branch.
    """

    name, latent_shape, prediction_type, takes_prompts = "stub", (4, 64, 64), "eps", True
    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self) -> None:
        self.schedule = NoiseSchedule.from_betas(np.linspace(0.00085**0.5, 0.012**0.5, 1_000) ** 2)
        generator = torch.Generator().manual_seed(0)
        self._in, self._out, self._condition = (
            torch.randn(shape, generator=generator) / 6
            for shape in ((CHANNELS, 4, 3, 3), (4, CHANNELS, 3, 3), (CHANNELS, EMBEDDING))
        )

    def embed(self, conditions: Sequence[str]) -> Condition:
        """One number a byte of the prompt's SHA-256, ``[batch, 32]``."""
        digests = b"".join(hashlib.sha256(text.encode()).digest() for text in conditions)
        numbers = torch.frombuffer(bytearray(digests), dtype=torch.uint8)
        return Condition.of(numbers.view(-1, EMBEDDING).float() / 128 - 1)

    def embed_null(self) -> Condition:
        """Zeros, ``[1, 32]``."""
        return Condition.of(torch.zeros(1, EMBEDDING))

    def predict(self, x: Tensor, t: int, condition: Condition) -> Tensor:
        """Noise prediction."""
        hidden = functional.conv2d(x, self._in, padding=1) + (condition.tensor @ self._condition.T)[:, :, None, None]
        return functional.conv2d(hidden.tanh(), self._out, padding=1)

    def fingerprint(self) -> str:
        """Of its sizes."""
        return hashlib.sha256(f"{CHANNELS} {EMBEDDING}".encode()).hexdigest()
