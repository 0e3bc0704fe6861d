"""Every mitigation on a transformer of rectified flow: it generates, or says why it cannot."""

from __future__ import annotations

import pytest

from memdet.errors import NotApplicableError
from memdet.mitigation import make_mitigation, mitigation_classes
from memdet.mitigation.sampler import Sampler
from memdet.models import load_model
from memdet.probing import Context, Items
from memdet.samplesets import Protocol
from tests.helpers.problems import make_items
from tests.helpers.tiny_pipelines import save

CAPTIONS = ["alderon plain dress on white a01", "birkwell soft bag at sale b02"]
CLASSES = mitigation_classes()
REFUSED = {
    "amg2024": "no training images",
    "nemo2024-neurons": "no cross-attention",
    "other-caption": "no other caption of the set names 'dress'",
    "ren2024-mitigation": "no cross-attention",
    "sail2025@of=code,candidates=2": "pure noise",
}
SHORTER = {"han2025-sample": "@steps=5"}
LABELS = [
    *(name + SHORTER.get(name, "") for name in sorted(CLASSES)),
    *(name for name in REFUSED if "@" in name),
    "somepalli2023@change=noise",
]


@pytest.fixture(scope="module")
def transformer(tmp_path_factory):
    return load_model(save("sd3", tmp_path_factory.mktemp("sd3")))


@pytest.mark.slow
@pytest.mark.parametrize("label", LABELS)
def test_a_mitigation_generates_from_a_flow_or_says_why_not(transformer, label):
    ids = ["d0", "d1"]
    dev = Items(ids, ["alderon soft coat at sale c03", "dovero slim bag on white d04"], ids, [0, 0], True)
    context = Context(Protocol(steps=4, guidance=2.0, seeds=1, noise="shared"))
    sampler = Sampler.of(transformer, make_items(CAPTIONS, has_prompts=True), context, dev=dev)
    method = make_mitigation(label, CLASSES)
    if label in REFUSED:
        with pytest.raises(NotApplicableError, match=REFUSED[label]):
            method.sample(sampler)
        return
    found = method.sample(sampler)
    assert found.shape == (2, *transformer.latent_shape)
    assert found.isfinite().all()
    assert sampler.whole.price.forwards.min() > 0
