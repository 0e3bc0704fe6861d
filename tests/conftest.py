"""What several test folders share: a tiny pipeline with random weights, written once a session."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch

from memdet.models import ScoreModel
from tests.helpers.small_run import items, write_run

__all__ = ["items", "write_run"]  # fixtures

if "PYTEST_XDIST_WORKER" in os.environ:  # several processes of several threads each slow one another down
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch):
    """Tables are as wide as their cells, whatever another package says of a terminal."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture(scope="session")
def random_pipeline(tmp_path_factory) -> Path:
    """Directory of a Stable Diffusion pipeline that was never trained, in float32."""
    from diffusers import StableDiffusionPipeline

    from memdet.zoo.tiny_sd import recipe as tiny_sd

    torch.manual_seed(0)
    tokenizer = tiny_sd.make_tokenizer()
    pipeline = StableDiffusionPipeline(
        vae=tiny_sd.make_vae(),
        text_encoder=tiny_sd.make_text_encoder(len(tokenizer)),
        tokenizer=tokenizer,
        unet=tiny_sd.make_unet(),
        scheduler=tiny_sd.make_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    directory = tmp_path_factory.mktemp("pipeline") / "random-sd"
    pipeline.save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def random_model(random_pipeline) -> ScoreModel:
    """The random pipeline as a score model."""
    from memdet.models import load_model

    return load_model(random_pipeline)


@cache
def _training_images(directory: Path) -> torch.Tensor:
    from memdet.models.diffusers.training_images import read_training_images

    return read_training_images(directory)


@pytest.fixture
def training_images_read_once(monkeypatch) -> None:
    """Spare those who make many probes of one planted model that each reads its training images anew."""
    for module in ("stable_diffusion", "class_conditional"):
        monkeypatch.setattr(f"memdet.models.diffusers.{module}.read_training_images", _training_images)


@pytest.fixture
def copy_of_pipeline(random_pipeline, tmp_path) -> Callable[[], Path]:
    """Gives copies of the random pipeline that a test may change."""

    def copy() -> Path:
        return Path(shutil.copytree(random_pipeline, tmp_path / f"copy-{len(list(tmp_path.iterdir()))}"))

    return copy
