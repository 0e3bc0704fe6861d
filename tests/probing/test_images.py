"""Items that are images: where a probe looks, and what it refuses."""

import pytest
import torch

from memdet.detectors import detector_classes, make_detector
from memdet.errors import NotApplicableError
from memdet.probing import Items
from tests.helpers.problems import make_items, make_mixture, make_probe

NAME = "fewer components than dimensions"


@pytest.fixture
def probe():
    model = make_mixture(NAME)
    images = torch.randn(4, *model.latent_shape, generator=torch.Generator().manual_seed(3))
    ids = [f"i{k}" for k in range(4)]
    items = Items(ids, ["some", "point"] * 2, ids, [0, 1] * 2, has_prompts=False, images=images)
    return make_probe(model, items, noise="per-item")


@pytest.mark.parametrize(("t", "nearest"), [(None, 981), (500, 501), (0, 1), (999, 981)])
def test_a_detector_of_one_time_looks_at_the_noisy_image(probe, t, nearest):
    x, timestep = probe.at(t)
    assert timestep == nearest
    schedule = probe.model.schedule
    expected = schedule.alpha(nearest) * probe.images.double() + schedule.sigma(nearest) * probe.noise
    torch.testing.assert_close(x, expected)
    assert probe.at(t)[0] is x


@pytest.mark.parametrize("text", ["hessian-trace@t=100", "jeon2025", "curvature-gap@t=500", "jeon2024-eigenvalues"])
def test_one_time_detectors_score_images(probe, text):
    scores = make_detector(text, detector_classes()).score(probe)
    assert torch.isfinite(scores).all()
    assert len(set(scores.tolist())) == 4


def test_a_trajectory_from_noise_is_refused(probe):
    with pytest.raises(NotApplicableError, match="items are images"):
        make_detector("wen2024", detector_classes()).score(probe)


def test_prompts_are_no_images():
    with pytest.raises(NotApplicableError, match="not images"):
        make_detector("image-norm", detector_classes()).score(make_probe(make_mixture(NAME), make_items(["some"])))


def test_image_controls():
    images = torch.zeros(3, 1, 16, 16)
    images[1] = 0.5
    images[2] = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    items = Items(list("abc"), list("abc"), list("abc"), [0, 1, 0], has_prompts=False, images=images)
    probe = make_probe(None, items)
    classes = detector_classes()
    assert make_detector("image-norm", classes).score(probe).tolist() == pytest.approx(
        [0.0, 8.0, float(images[2].norm())]
    )
    size = make_detector("image-size", classes).score(probe)
    assert -30 < size[0] == size[1]  # one value
    assert size[2] < -200  # noise does not compress
