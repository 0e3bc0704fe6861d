"""The planted models at the first step: score difference and Hessian norm, as they are and whitened."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from memdet.metrics import Evaluation, evaluate_scores
from memdet.models import ScoreModel, load_model
from memdet.probing import Probe
from memdet.samplesets import load_sample_set
from memdet.zoo import weights_directory
from memdet.zoo.tiny_sd.extraction import load_pipeline
from studies.covariance.closed_form import directions

SETS = ("tiny-sd-a-verbatim", "tiny-sd-b-verbatim")
IMAGES = 8_000  # training images that the covariance is taken of
FLOOR = 0.01  # added to the variances, whose mean is about 1, before division
QUANTITIES = ("wen2024", "jeon2025")


@dataclass(frozen=True)
class Measured:
    """One planted set.

    Attributes:
        sample_set: Its id.
        seeds: Noise draws over which scores are averaged.
        directions: Participation ratio of the variances of the training images' latents, of ``d``.
        d: Dimensions of a latent.
        plain, whitened: AUROC of each of ``QUANTITIES``: of the norm of the vector as it is, and with its coordinates
            in the eigenbasis of the latents' covariance divided by their variances.
    """

    sample_set: str
    seeds: int
    directions: float
    d: int
    plain: dict[str, Evaluation]
    whitened: dict[str, Evaluation]


def eigenbasis(model: ScoreModel) -> tuple[Tensor, Tensor]:
    """Variances ``[d]`` and directions ``[d, d]`` of the latents of training images."""
    images = model.training_images()
    chosen = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:IMAGES]] * 2 - 1
    vae = load_pipeline(weights_directory(model.name)).vae
    with torch.no_grad():
        means = [vae.encode(batch).latent_dist.mean for batch in torch.split(chosen, 256)]
    latents = torch.cat(means).flatten(1).double() * float(vae.config.scaling_factor)
    values, vectors = torch.linalg.eigh(torch.cov(latents.T))
    return values, vectors


def measure(name: str, seeds: int) -> Measured:
    """Score the test items of a set."""
    sample_set = load_sample_set(name)
    model = load_model(str(sample_set.model))
    variances, basis = eigenbasis(model)
    found: dict[tuple[str, bool], list[Tensor]] = {(key, white): [] for key in QUANTITIES for white in (False, True)}
    for seed in range(seeds):
        probe = Probe.of(model, sample_set, seed=seed)
        for key, vector in zip(QUANTITIES, _vectors(probe), strict=True):
            coordinates = vector.double().flatten(1) @ basis
            found[key, False].append(coordinates.norm(dim=1))
            found[key, True].append((coordinates / (variances + FLOOR)).norm(dim=1))
        probe.forget()
    items = sample_set.items[sample_set.items["split"] == "test"]

    def evaluated(columns: list[Tensor]) -> Evaluation:
        table = torch.stack(columns, dim=1).numpy()
        return evaluate_scores(table.mean(axis=1), items["label"], items["cluster"].to_numpy(str), by_seed=table)

    plain, whitened = ({key: evaluated(found[key, white]) for key in QUANTITIES} for white in (False, True))
    return Measured(name, seeds, directions(variances.numpy().astype(np.float64)), len(variances), plain, whitened)


def _vectors(probe: Probe) -> tuple[Tensor, Tensor]:
    """``D`` and ``J_D s_D`` at the starting noise, whose norms the two detectors are."""
    x, t = probe.at(None)
    difference = probe.score(x, t, "cond") - probe.score(x, t, "null")
    cond, null = probe.both_products(x, t, difference)
    return probe.difference(x, t), cond - null
