"""SolidMark and outpainting: against plain loops, and where the answer is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from memdet.detectors import detector_classes, make_detector
from memdet.errors import NotApplicableError
from memdet.models import GaussianMixture, NoiseSchedule
from memdet.models.outpainting import border_of, outpainted
from memdet.probing import Items
from tests.helpers.problems import make_probe, scaled_linear_betas

SIDE = 8
KEYS = [0.4, 0.6]  # frames differ less than what they frame, which so decides


class Pixels(GaussianMixture):
    """A mixture whose samples are grey images."""

    def decode(self, x0):
        return (x0 + 1) / 2


def framed(key, seed):
    """A garment of noise in a frame, ``[1, 8, 8]`` in [-1, 1]."""
    image = np.random.default_rng(seed).uniform(-1, 1, (1, SIDE, SIDE))
    frame = border_of(SIDE, SIDE, 1).numpy()
    image[:, frame] = 2 * key - 1
    return torch.from_numpy(image)


def memorizer():
    """It has learned two images by heart, and nothing else."""
    means = torch.stack([framed(key, seed).flatten() for seed, key in enumerate(KEYS)])
    schedule = NoiseSchedule.from_betas(scaled_linear_betas())
    return Pixels(
        "memorizer",
        means=means,
        stds=[0.01, 0.01],
        weights=[1.0, 1.0],
        conditions={"both": [1.0, 1.0]},
        schedule=schedule,
        latent_shape=(1, SIDE, SIDE),
    )


def scores(images, label="solidmark@border=1,passes=1", **options):
    ids = [str(index) for index in range(len(images))]
    items = Items(ids, ["both"] * len(images), ids, [0] * len(images), False, torch.stack(images))
    probe = make_probe(memorizer(), items, noise="per-item", **({"steps": 20} | options))
    detector = make_detector(label, detector_classes())
    with probe.charge() as cost:
        found = detector.score(probe)
    return found, cost


@pytest.mark.parametrize("passes", [1, 3])
def test_of_a_memorizer_the_painted_grey_is_the_key_it_has_seen(passes):
    """The interior names the image, whose frame comes back; held against another key, the score is the difference."""
    seen = [framed(key, seed) for seed, key in enumerate(KEYS)]
    found, cost = scores([*seen, framed(0.8, 0), framed(0.9, 1)], f"solidmark@border=1,passes={passes}")
    torch.testing.assert_close(found, -torch.tensor([0, 0, 0.4, 0.3], dtype=torch.float64), atol=0.02, rtol=0)
    assert cost.forwards == 20 * passes


@pytest.mark.parametrize("passes", [1, 2])
def test_outpainting_by_plain_loops(passes):
    """Pixel for pixel, with a prediction that mixes neighbours so that known pixels have a say in the others."""
    schedule = NoiseSchedule.from_betas(scaled_linear_betas())
    rng = np.random.default_rng(1)
    image, draws = rng.normal(size=(1, 1, 3, 4)), rng.normal(size=(40, 1, 1, 3, 4))
    known = np.zeros((3, 4), dtype=bool)
    known[1:, :2] = True

    def eps(x, t):
        return 0.3 * x + 0.1 * torch.roll(x, 1, 3)

    found = outpainted(
        torch.from_numpy(image),
        torch.from_numpy(known),
        eps,
        schedule,
        lambda draw: torch.from_numpy(draws[draw]),
        steps=5,
        passes=passes,
    )
    times = [801, 601, 401, 201, 1]
    levels = [(schedule.alphas[t], schedule.sigmas[t]) for t in times]
    ends = [*levels[1:], (schedule.final_alpha, schedule.final_sigma)]
    x, draw = draws[0, 0, 0].copy(), 0
    for (alpha, sigma), (ahead, rest) in zip(levels, ends, strict=True):
        for turn in range(passes):
            if turn:
                draw += 1
                ratio = alpha / ahead
                x = ratio * x + np.sqrt(sigma**2 - ratio**2 * rest**2) * draws[draw, 0, 0]
            x = np.array(
                [
                    [
                        alpha * image[0, 0, i, j] + sigma * draws[0, 0, 0, i, j] if known[i, j] else x[i, j]
                        for j in range(4)
                    ]
                    for i in range(3)
                ]
            )
            predicted = np.array([[0.3 * x[i, j] + 0.1 * x[i, (j - 1) % 4] for j in range(4)] for i in range(3)])
            x = ahead * (x - sigma * predicted) / alpha + rest * predicted
    expected = np.where(known, image[0, 0], x)
    np.testing.assert_allclose(found[0, 0].numpy(), expected, rtol=1e-10)


@pytest.mark.parametrize(
    ("border", "why"), [(2, "no frame of 2 pixels of one grey"), (4, "nothing in a frame of 4 pixels")]
)
def test_images_without_a_key_are_not_applicable(border, why):
    with pytest.raises(NotApplicableError, match=why):
        scores([framed(0.5, 0)], f"solidmark@border={border}")


def test_pure_noise_says_nothing_of_a_picture():
    schedule = NoiseSchedule(np.array([0.9, 0.5, 0.0]), np.array([0.1, 0.8, 1.0]))
    black = torch.zeros(1, 1, 2, 2)
    with pytest.raises(NotApplicableError, match="starts at pure noise"):
        outpainted(black, torch.ones(2, 2) > 0, lambda x, _: x, schedule, lambda _: black, steps=3)
