"""What a detector changes in place is refused, and those that come later get the right values."""

from __future__ import annotations

import gc

import pyarrow.compute as pc
import pytest
import torch

from memdet.detectors import Detector, DetectorInfo, detector_classes, make_detectors
from memdet.models import load_model
from memdet.models.diffusers.recording import AttentionLayer
from memdet.probing import ChangedInPlaceError, Items, SeedMemory
from memdet.results.scores import read_scores
from memdet.running import RunOptions, run
from memdet.samplesets import load_sample_set
from tests.helpers.problems import make_items, make_mixture, make_probe

NAME = "fewer components than dimensions"
T = 499

# What is changed: a name in the error, and how to get it from a probe.
CHANGED = {
    "noise": lambda probe: probe.noise,
    "starting_noise(1)": lambda probe: probe.starting_noise(1),
    "directions(...)": lambda probe: probe.directions(2)[1],
    "eps(x, 499, 'cond')": lambda probe: probe.eps(probe.noise, T, "cond"),
    "eps(x, 499, 'null')": lambda probe: probe.eps(probe.noise, T, "null"),
    "trajectory(...).state(2)": lambda probe: probe.trajectory().state(2),
    "trajectory(...).state(1)": lambda probe: probe.trajectory(guidance=0).state(1),  # shared, where the noise is
    "jacobian_product(x, 499, 'cond', v)": lambda probe: product(probe, "cond"),
    "jacobian_product(x, 499, 'null', v)": lambda probe: product(probe, "null"),
    "spectrum(x, 499, 'cond')": lambda probe: probe.spectrum(probe.noise, T, "cond"),
    "calibrate('mine', ...)": lambda probe: probe.calibrate("mine", lambda dev: (1.0, dev.noise + 1))[1],
}
VIEWS = {
    "whole": lambda tensor: tensor,
    "row": lambda tensor: tensor[0],
    "flat": lambda tensor: tensor[:1].flatten(),
    "detached": lambda tensor: tensor.detach()[-1:],
}


def product(probe, branch):
    return probe.jacobian_product(probe.noise, T, branch, probe.directions(1)[0], "fd")


def everything(probe):
    """All of it, in copies."""
    with probe.charge():
        return {name: ask(probe).clone() for name, ask in CHANGED.items()}


def new_probe(noise="shared", count=3, **options):
    dev = make_items(["some", "point"], labels=[1, 0])
    model = options.pop("model", None) or make_mixture(NAME)
    return make_probe(model, make_items(["some", "point", "some"][:count]), noise=noise, steps=4, dev=dev, **options)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("noise", ["shared", "per-item"])
@pytest.mark.parametrize("name", CHANGED)
def test_a_change_is_refused_and_mended(name, noise, view):
    expected = everything(new_probe(noise))
    probe = new_probe(noise)
    everything(probe)
    tensor = VIEWS[view](CHANGED[name](probe))
    if len(tensor) > 1 and tensor.stride(0) == 0:
        tensor = tensor[:1]  # torch itself refuses to write to an expanded tensor
    with pytest.raises(ChangedInPlaceError) as caught, probe.charge():
        tensor.mul_(2)
    assert name in caught.value.changed[0].split(" or ")
    assert "clone it first" in str(caught.value)
    assert "\n" not in str(caught.value)
    for found, wanted in zip(everything(probe).values(), expected.values(), strict=True):
        assert torch.equal(found, wanted)


def test_torch_refuses_to_write_to_rows_that_are_one():
    probe = new_probe()
    with pytest.raises(RuntimeError, match="single memory location"), probe.charge():
        probe.noise.mul_(2)
    assert torch.equal(probe.noise, new_probe().noise)


def test_nothing_is_refused_that_changes_what_is_its_own():
    probe = new_probe()
    with probe.charge():
        x = probe.noise
        for tensor in (x.clone(), x + 1, probe.difference(x, T), probe.score(x, T, "cond")):
            probe.eps(tensor, T, "cond")
            tensor.mul_(2)


def test_other_batches_of_the_seed_get_right_values():
    memory = SeedMemory()
    first, second, last = (new_probe(memory=memory, n_items=9) for _ in range(3))
    expected = everything(new_probe(n_items=9))
    everything(second)
    with pytest.raises(ChangedInPlaceError, match="noise"), first.charge():
        first.noise[1].zero_()
    for probe in (first, second, last):
        with probe.charge() as cost:
            probe.difference(probe.noise, T)
        assert cost.forwards == pytest.approx(1 + 1 / 9)
        found = everything(probe)
        assert all(torch.equal(found[name], expected[name]) for name in CHANGED)


def test_items_of_the_dev_split_are_watched_while_constants_are_taken():
    probe, kept = new_probe(), []

    def fit(dev):
        dev.noise[0].mul_(2)
        return 1.0

    with pytest.raises(ChangedInPlaceError, match="noise"), probe.charge():
        probe.calibrate("mine", fit)

    def keep(dev):
        kept.append(dev.eps(dev.noise, T, "cond"))
        return dev.noise[0].clone()

    with probe.charge():
        assert torch.equal(probe.calibrate("mine", keep), new_probe().noise[0])
    with pytest.raises(ChangedInPlaceError, match=r"eps\(x, 499, 'cond'\) of the dev items"), probe.charge():
        kept[0].mul_(2)
    with probe.charge():
        probe.calibrate("mine", keep)
    assert torch.equal(2 * kept[1], kept[0])


def test_both_branches_of_one_call_share_their_memory(random_model):
    items = make_items(["a red circle", "a blue circle"], has_prompts=True)
    probe = make_probe(random_model, items, noise="per-item", steps=4)
    null = probe.both(probe.noise, T)[1].clone()
    with pytest.raises(ChangedInPlaceError) as caught, probe.charge():
        probe.eps(probe.noise, T, "cond").zero_()
    assert caught.value.changed == ("eps(x, 499, 'cond') or eps(x, 499, 'null')",)
    assert torch.equal(probe.both(probe.noise, T)[1], null)


@pytest.mark.parametrize("ask", ["attention", "bottleneck"])
def test_recordings(ask, random_model):
    probe = make_probe(random_model, make_items(["a red circle"], has_prompts=True))

    def recorded():
        found = getattr(probe, ask)(probe.noise, T, "cond")
        return found[0].weights if isinstance(found, list) and isinstance(found[0], AttentionLayer) else found

    expected = recorded().clone()
    with pytest.raises(ChangedInPlaceError, match=rf"{ask}\(x, 499, 'cond'\)"), probe.charge():
        recorded().zero_()
    assert torch.equal(recorded(), expected)


def test_images_of_the_items_themselves_stay():
    images = torch.linspace(-1, 1, 2 * 256).view(2, 1, 16, 16)
    items = Items(["a", "b"], ["trouser"] * 2, ["a", "b"], [1, 0], False, images.clone())
    probe = make_probe(load_model("fashion-pixel"), items)
    for ask in (lambda: probe.images, probe.clean, lambda: probe.at(None)[0], lambda: probe.training_images):
        expected = ask().clone()
        with pytest.raises(ChangedInPlaceError), probe.charge():
            ask().zero_()
        assert torch.equal(ask(), expected)
    assert torch.equal(items.images, images)


def test_who_fails_otherwise_is_mended_too():
    probe, expected = new_probe(), everything(new_probe())
    with pytest.raises(ValueError, match="batch"), probe.charge():
        probe.eps(probe.noise[0].mul_(2)[None], T, "cond")
    assert all(torch.equal(found, expected[name]) for name, found in everything(probe).items())


def test_a_change_without_an_account_is_nobodys_but_mended():
    probe, expected = new_probe(), everything(new_probe())
    probe.noise[0].mul_(2)
    assert all(torch.equal(found, expected[name]) for name, found in everything(probe).items())


@pytest.mark.parametrize("noise", ["shared", "per-item"])
def test_changes_are_counted_in_inference_mode(noise):
    """Tensors that are made there have no counter, so the probe makes its own outside of it."""
    expected, probe = everything(new_probe(noise)), new_probe(noise)
    with torch.inference_mode(), probe.charge():
        inside = {name: ask(probe).clone() for name, ask in CHANGED.items()}
        x = torch.ones_like(probe.noise)
        assert x.is_inference()
        probe.eps(x, T, "cond")
    assert all(torch.equal(inside[name], expected[name]) for name in CHANGED)
    with pytest.raises(ChangedInPlaceError, match="noise"), torch.inference_mode(), probe.charge():
        probe.noise[0].mul_(2)
    assert all(torch.equal(found, expected[name]) for name, found in everything(probe).items())


@pytest.mark.slow
def test_what_is_watched_is_let_go():
    probe = new_probe("per-item")
    state = probe.trajectory().state(3)
    gc.collect()
    count = len(gc.get_referrers(state))
    probe.forget()
    assert len(gc.get_referrers(state)) < count
    assert probe.evaluator.memo.changed() == []


class Vandal(Detector):
    info = DetectorInfo(name="vandal", title="", access="score", cost="none")

    def score(self, probe):
        probe.noise[0].mul_(2)
        x, t = probe.at(481)
        probe.eps(x, t, "cond").mul_(3)
        return torch.zeros(len(probe))


def test_in_a_run_it_is_an_error_of_that_detector_alone(tmp_path):
    good = make_detectors(["wen2024", "jeon2025", "curvature-gap@t=481"], detector_classes())
    found = {}
    for name, detectors in {"alone": good, "beside": [good[0], Vandal(), *good[1:]]}.items():
        run([load_sample_set("mixture-2d")], detectors, tmp_path / name, RunOptions(seeds=1), progress=False)
        table = read_scores(tmp_path / name)
        table = table.select(["detector", "item_id", "score", "status", "forwards", "jvps", "vjps"])
        found[name] = {d.label: table.filter(pc.equal(table["detector"], d.label)).to_pydict() for d in detectors}
    vandal = found["beside"].pop("vandal")
    assert set(vandal["status"]) == {"error"}
    assert found["alone"] == found["beside"]
