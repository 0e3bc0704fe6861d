"""Between its first network call and its scores a detector never waits for the device.

A wait empties the queue of a GPU. What forces one is seen on the CPU too: operators that give a number or a shape to
the host, and host numbers that are made a tensor, since a copy of pageable memory waits as well. Work that is done once
a seed does not count: self-checks, shared noise, shared null predictions, constants from the dev split. It is told
apart by a first batch of the seed that is not looked at; the second batch is.
"""

from __future__ import annotations

import importlib

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from memdet.detectors import detector_classes, make_detector
from memdet.models import GaussianMixture, load_model
from memdet.probing import SeedMemory
from memdet.probing.from_sample_set import items_of
from memdet.samplesets import load_sample_set
from tests.helpers.cheap import cheap
from tests.helpers.problems import make_items, make_mixture, make_probe

CLASSES = detector_classes()
WAITING = {
    "_local_scalar_dense",  # item(), bool(), float(), int()
    "is_nonzero",
    "equal",
    "nonzero",
    "masked_select",
    "unique_dim",
    "unique_consecutive",
    "_unique",
    "_unique2",
    "lift_fresh",  # torch.tensor of host numbers
    # Their kernels look at an error code.
    "_linalg_eigh",
    "linalg_eig",
    "_linalg_svd",
    "_linalg_solve_ex",
    "linalg_lstsq",
    "linalg_cholesky",
}
EIGENVALUES = "torch.linalg.eigh looks at the error code of the small matrices, once at the end"
TOKENS = "the tokenizer's positions go to the device, once"
# What cannot be mended, and why.
ACCEPTED = {
    "jeon2024-eigenvalues": ({"_linalg_eigh"}, EIGENVALUES),
    "eigenvalue-gap": ({"_linalg_eigh"}, EIGENVALUES),
    "lhsd": ({"_linalg_eigh"}, EIGENVALUES),
    "normal-bundle": ({"_linalg_svd"}, "torch.linalg.svdvals looks at the error code, once at the end"),
    "trace-gap@estimator=exact": ({"_linalg_eigh"}, EIGENVALUES),
    "bright-ending": ({"lift_fresh"}, TOKENS),
    "ren2024-entropy": ({"lift_fresh"}, TOKENS),
    "nemo2024": ({"Tensor.cpu", "Tensor.numpy", "lift_fresh"}, "SSIM is scikit-image's, on the host"),
    "rectified-flow-mia": ({"Tensor.cpu", "Tensor.numpy", "lift_fresh"}, "the image is compressed on the host, first"),
}
VARIANTS = [
    "wen2024@steps=5",
    "jeon2025@backend=fd",
    "jeon2025@backend=fd-one-sided",
    "curvature-gap@backend=jvp",
    "hessian-trace@backend=jvp",
    "hessian-trace@probes=5,estimator=hutch++",
    "hessian-trace@probes=5,estimator=xtrace",
    "jeon2024-eigenvalues@statistic=count-below",
    "jeon2024-eigenvalues@statistic=positive",
    "jain2025@statistic=transition",
    "copy-similarity@embedding=pixel",
]
ASKING = [name for name, cls in CLASSES.items() if not cls.info.is_control]
# SSCD runs in onnxruntime, on the host; no image of the set has a frame that is a key.
LABELS = [name for name in ASKING if name not in {"copy-similarity", "solidmark"}] + VARIANTS


class Watch(TorchDispatchMode):
    """Notes what makes the host wait."""

    def __init__(self):
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        by_mask = name in {"index", "index_put", "index_put_"} and any(
            index is not None and index.dtype in {torch.bool, torch.uint8} for index in args[1]
        )
        if name in WAITING or by_mask:
            self.seen.add(name)
        return func(*args, **(kwargs or {}))


@pytest.fixture
def watch(monkeypatch):
    """A watch that also sees copies to the host, which on the CPU are no operator."""
    watch = Watch()
    arnoldi = importlib.import_module("memdet.curvature.krylov")
    monkeypatch.setattr(arnoldi, "_may_ask", lambda device: False)  # it asks on the CPU alone

    def noting(name):
        real = getattr(torch.Tensor, name)

        def method(self, *args, **kwargs):
            watch.seen.add(f"Tensor.{name}")
            return real(self, *args, **kwargs)

        return method

    for name in ("cpu", "numpy", "tolist", "__array__"):
        monkeypatch.setattr(torch.Tensor, name, noting(name))
    return watch


def accepted_of(label):
    """What a detector may wait for."""
    return ACCEPTED.get(label, ACCEPTED.get(label.partition("@")[0], (set(), "")))[0]


def waits_of(label, model, batches, dev, watch, noise, steps):
    """What makes the second batch of a seed wait."""
    detector, memory = make_detector(cheap(label), CLASSES), SeedMemory()
    first, second = (
        make_probe(model, items, steps=steps, noise=noise, memory=memory, dev=dev, n_items=2 * len(items))
        for items in batches
    )
    with first.charge():
        detector.score(first)
    start = second.noise
    second.eps(torch.zeros_like(start), second.timesteps[0], "cond")  # encodes the conditions of the batch
    second.eps(torch.zeros_like(start), second.timesteps[0], "null")
    watch.seen.clear()
    with second.charge(), watch:
        detector.score(second)
    return watch.seen


@pytest.fixture(scope="module")
def planted():
    def of(task):
        sample_set = load_sample_set("tiny-sd-a-verbatim" if task != "image" else "fashion-pixel-generated")
        model = load_model(str(sample_set.model))
        table = sample_set.items
        tested, dev = (table[table["split"] == split].groupby("label") for split in ("test", "dev"))
        rows = tested.head(2)
        batches = [items_of(rows.iloc[part], sample_set, model) for part in (slice(0, 2), slice(2, 4))]
        return model, batches, items_of(dev.head(3), sample_set, model)

    known = {task: of(task) for task in ("prompt", "image")}
    return lambda task: known["image" if task == "image" else "prompt"]


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["shared", "per-item"])
@pytest.mark.parametrize("label", LABELS)
def test_on_a_network(label, noise, planted, watch):
    model, batches, dev = planted(CLASSES[label.partition("@")[0]].info.task)
    assert waits_of(label, model, batches, dev, watch, noise, steps=5) <= accepted_of(label)


CLOSED = [
    name
    for name in ASKING
    if CLASSES[name].info.task != "image"
    and CLASSES[name].info.access in {"score", "gradient"}
    and name not in {"nemo2024", "condition-jacobian"}  # not applicable to a mixture in the plane
]


@pytest.mark.parametrize("noise", ["shared", "per-item"])
@pytest.mark.parametrize("label", [*CLOSED, "jeon2024-eigenvalues@estimator=exact", "trace-gap@estimator=exact"])
def test_on_a_closed_form(label, noise, watch, monkeypatch):
    monkeypatch.setattr(GaussianMixture, "_used", lambda self, *_: slice(None))  # the model's choice, on the host
    model = make_mixture("more components than dimensions")
    batches = [make_items(["some", "tight"] * 2)] * 2
    dev = make_items(["some", "tight"] * 2, labels=[1, 0, 0, 1])
    assert waits_of(label, model, batches, dev, watch, noise, steps=10) <= accepted_of(label)


def test_the_watch_sees_what_waits(watch):
    x = torch.arange(4.0)
    waiting = {
        "_local_scalar_dense": lambda: float(x[0]),
        "nonzero": lambda: x.nonzero(),
        "index": lambda: x[x > 1],
        "equal": lambda: torch.equal(x, x),
        "lift_fresh": lambda: torch.tensor([1.0]),
        "_linalg_eigh": lambda: torch.linalg.eigh(torch.eye(2)),
        "Tensor.tolist": lambda: x.tolist(),
        "Tensor.cpu": lambda: x.cpu(),
    }
    for name, work in waiting.items():
        watch.seen.clear()
        with watch:
            work()
        assert name in watch.seen
    watch.seen.clear()
    with watch:
        torch.where(x > 1, x, 0.0).sort().values[:2].sum().clamp_min(1e-3) * x[torch.arange(2)]
    assert watch.seen == set()
