"""docs/examples/own-models: each file is scored from Python and from the command line, as torch.func computes it."""

import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.func import jacrev, jvp

import memdet
from tests.helpers import stand_in_package
from tests.helpers.source import ROOT

FOLDER = ROOT / "docs" / "examples" / "own-models"
EXAMPLES = sorted(path.stem for path in FOLDER.glob("*.py"))
PACKAGE = "denoising_diffusion"
TEXTS = {"rectified_flow": ["a cat", "the sea", "an apple tree", "rain"]}
CLASSES = ["0", "1", "2", "3"]
DETECTORS = ["wen2024", "jeon2025", "hessian-trace@estimator=exact"]


def levels(name, t):
    """Alpha and sigma, as the papers have them."""
    if name == "plain_module":
        product = np.prod(1 - np.linspace(1e-4, 0.02, 1000)[: t + 1])
    elif name == "edm_denoiser":
        return 1.0, float((0.002 ** (1 / 7) + t / 999 * (80 ** (1 / 7) - 0.002 ** (1 / 7))) ** 7)
    elif name == "rectified_flow":
        return 1 - (t + 1) / 1000, (t + 1) / 1000
    else:
        ends = (np.arange(t + 2) / 1000 + 0.008) / 1.008 * np.pi / 2
        product = np.prod(1 - np.clip(1 - np.cos(ends[1:]) ** 2 / np.cos(ends[:-1]) ** 2, 0, 0.999))
    return float(product**0.5), float((1 - product) ** 0.5)


def direct(name, model, text, t, x):
    """What the three detectors define, of one item: the example's own network, differentiated in float64."""
    alpha, sigma = levels(name, t)
    kind = {"edm_denoiser": "x0", "rectified_flow": "flow", PACKAGE: "v"}.get(name, "eps")
    cond, null = model.embed([text]), model.embed_null()

    def branch(condition):
        return lambda z: model.predict(z, t, condition)

    def difference(z):  # of network outputs, as scores
        moved = branch(cond)(z) - branch(null)(z)
        return moved / sigma**2 if kind == "x0" else -moved / sigma

    def score(z):
        output = branch(cond)(z)
        eps = {
            "eps": output,
            "x0": (z - alpha * output) / sigma,
            "flow": z + alpha * output,
            "v": alpha * output + sigma * z,
        }
        return -eps[kind] / sigma

    found, product = jvp(difference, (x,), (difference(x),))
    jacobian = jacrev(score)(x).reshape(x.numel(), x.numel())
    return [float(sigma * found.norm()), float(product.norm() ** 2), -float(jacobian.trace())]


def provide(name, monkeypatch):
    if name == PACKAGE:
        stand_in_package.install(monkeypatch)


def check(name, texts, scores):
    """Compare with a model that is made anew, at the noise that a CPU draws for seed 0."""
    model = memdet.load_model(f"{FOLDER / name}.py:make_model")
    t = model.schedule.timesteps(5)[0]
    start = 1.0 if name != "edm_denoiser" else (1 + levels(name, t)[1] ** 2) ** 0.5
    x = start * torch.randn(1, *model.latent_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = [direct(name, model, text, t, x) for text in texts]
    np.testing.assert_allclose(scores[DETECTORS].to_numpy(), expected, rtol=1e-4)
    assert (scores[DETECTORS].nunique() == len(texts)).all()


def score_both_ways(name, tmp_path, monkeypatch, cli):
    monkeypatch.chdir(tmp_path)
    shutil.copy(FOLDER / f"{name}.py", ".")
    texts = TEXTS.get(name, CLASSES)
    rows = [f"{text},{number % 2}" for number, text in enumerate(texts)]
    Path("mine.csv").write_text("\n".join(["prompt,memorized", *rows]) + "\n")
    chosen = [f"--detector={detector}" for detector in DETECTORS]
    options = ["--samples=mine.csv", "--steps=5", "--quiet", "--device=cpu", "--out=run"]
    code, _, err = cli("run", f"--model={name}.py:make_model", *options, *chosen)
    assert code == 0, err
    check(name, texts, memdet.load_run("run").scores)
    items = memdet.SampleSet.from_file("mine.csv", model="own", steps=5)
    made = runpy.run_path(f"{name}.py")["make_model"]()
    check(name, texts, memdet.evaluate(DETECTORS, items, model=made, progress=False).scores)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_scored_as_torch_func_computes_it(name, tmp_path, monkeypatch, cli):
    provide(name, monkeypatch)
    score_both_ways(name, tmp_path, monkeypatch, cli)


@pytest.mark.slow
def test_the_real_package_is_scored_as_torch_func_computes_it(tmp_path, monkeypatch, cli):
    pytest.importorskip("denoising_diffusion_pytorch.classifier_free_guidance", reason="no denoising_diffusion_pytorch")
    score_both_ways(PACKAGE, tmp_path, monkeypatch, cli)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs_as_a_script(name, monkeypatch, capsys):
    provide(name, monkeypatch)
    runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert "wen2024" in printed
    assert "item-00004" in printed
