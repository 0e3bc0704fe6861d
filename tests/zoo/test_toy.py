"""The toy network: its samples, its training and its comparison with the closed form."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

import memdet.zoo as zoo
from memdet.errors import UserError
from memdet.models import load_model
from memdet.models.closed_form.mixture_2d import mixture_2d
from memdet.models.toy import ToyModel
from memdet.zoo.toy_2d import recipe as toy
from memdet.zoo.toy_2d.recipe import TOY_2D, Toy2D
from memdet.zoo.training import Schedule

MINIATURE = Toy2D(name="small-toy", schedule=Schedule(steps=3), samples=40, batch_size=8, width=8)


@pytest.fixture
def built(tmp_path, monkeypatch):
    monkeypatch.setattr(toy, "SMALL_TOY", MINIATURE, raising=False)
    monkeypatch.setitem(zoo.RECIPES, "small-toy", "memdet.zoo.toy_2d.recipe:SMALL_TOY")
    monkeypatch.setattr(toy, "POINTS", 16)
    return tmp_path / "out", zoo.build("small-toy", tmp_path / "out")


def test_samples_are_those_of_the_mixture():
    points, labels = toy.draw_samples(TOY_2D)
    assert labels.bincount().tolist() == [150, 2850]
    tight, broad = points[labels == 0], points[labels == 1]
    assert tight.mean(0).tolist() == pytest.approx([-2, 0], abs=0.01)
    assert broad.mean(0).tolist() == pytest.approx([1, 0], abs=0.1)
    assert tight.std(0).tolist() == pytest.approx([0.02, 0.02], rel=0.2)
    assert broad.std(0).tolist() == pytest.approx([1, 1], rel=0.1)


def test_the_schedule_is_that_of_the_closed_form():
    assert (toy.toy_schedule().alphas == mixture_2d(torch.device("cpu")).schedule.alphas).all()


@pytest.mark.parametrize(("branch", "mean", "variance"), [("tight", -2.0, 0.02**2), ("broad", 1.0, 1.0)])
def test_points_follow_the_noisy_density(branch, mean, variance, monkeypatch):
    monkeypatch.setattr(toy, "POINTS", 20_000)
    truth = mixture_2d(torch.device("cpu"))
    x = toy.noisy_points(truth.embed([branch]).tensor, 200)
    alpha, sigma = truth.schedule.alpha(200), truth.schedule.sigma(200)
    assert x.mean(0).tolist() == pytest.approx([alpha * mean, 0], abs=0.03)
    assert x.var(0).tolist() == pytest.approx([alpha**2 * variance + sigma**2] * 2, rel=0.04)


def test_the_closed_form_has_no_error(built, monkeypatch):
    class Perfect:
        def __new__(cls, directory, dtype):
            return mixture_2d(torch.device("cpu"))

    monkeypatch.setattr(toy, "ToyModel", Perfect)
    figures = toy.measure(built[0])
    assert figures["passed"]
    for figure in ("score_error", "hessian_error"):
        assert {value for by_time in figures[figure].values() for value in by_time.values()} == {0.0}


def test_build_and_verify(built):
    out, figures = built
    assert not (out / "training").exists()
    assert {tensor.dtype for tensor in load_file(out / "model.safetensors").values()} == {torch.float16}
    failed = [row["name"] for row in figures["criteria"] if not row["met"]]
    assert [line.split(": ")[1].split(" is ")[0] for line in zoo.verify(out)] == failed
    card = (out / "README.md").read_text()
    assert "# small-toy" in card
    for row in figures["criteria"]:
        assert f"| {row['name']} | {row['bound']} | {row['value']} | " in card
    altered = json.loads((out / "extraction.json").read_text())
    altered["score_error"]["tight"]["900"] += 0.01
    (out / "extraction.json").write_text(json.dumps(altered))
    assert zoo.verify(out)[0].startswith("score_error tight 900: stored")


def test_a_build_depends_on_its_seed_alone(tmp_path, built):
    weights = load_file(built[0] / "model.safetensors")
    zoo.build("small-toy", tmp_path / "again")
    zoo.build("small-toy", tmp_path / "other", seed=5)
    again, other = (load_file(tmp_path / name / "model.safetensors") for name in ("again", "other"))
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert not any(torch.equal(weights[name], other[name]) for name in weights)


def test_the_network_loads_as_a_score_model(built):
    model = load_model(built[0])
    assert isinstance(model, ToyModel)
    assert model.conditions == ["tight", "broad"]
    x = torch.randn(3, 2)
    with torch.no_grad():
        together = model.eps(x, 100, model.embed(["tight", "broad", "tight"]))
        torch.testing.assert_close(model.eps(x[1:2], 100, model.embed(["broad"])), together[1:2])
        assert not torch.allclose(model.eps(x, 100, model.embed_null()), together)
    with pytest.raises(UserError, match="no condition 'wide'; it knows: tight, broad"):
        model.embed(["wide"])


def test_weights_that_do_not_fit(built):
    path = built[0] / "model.safetensors"
    weights = load_file(path)
    save_file({name: tensor for name, tensor in weights.items() if name != "out.bias"}, path)
    with pytest.raises(UserError, match="cannot be loaded"):
        load_model(built[0])
    path.unlink()
    with pytest.raises(UserError, match="cannot be loaded"):
        load_model(built[0])


@pytest.mark.slow
@pytest.mark.parametrize(("written", "kept"), [("train", []), ("save_toy", ["network.pt"])])
def test_a_full_disk(tmp_path, written, kept):
    """A limit on file size, as tight as a full disk, from the first checkpoint on or when the weights are written."""
    script = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "import memdet.zoo as zoo; from memdet.cli import main; from memdet.zoo.toy_2d import recipe as toy\n"
        "from memdet.zoo.training import Schedule\n"
        "toy.SMALL_TOY = toy.Toy2D(name='small-toy', schedule=Schedule(steps=1), samples=40, batch_size=8, width=8)\n"
        "zoo.RECIPES['small-toy'] = 'memdet.zoo.toy_2d.recipe:SMALL_TOY'\n"
        f"step = toy.{written}\n"
        "def limited(*a, **k):\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (512, resource.RLIM_INFINITY)); return step(*a, **k)\n"
        f"toy.{written} = limited\n"
        "main(['zoo', 'build', 'small-toy', '--out', 'out'])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("memdet: ")
    assert [path.name for path in (tmp_path / "out" / "training").iterdir()] == kept
