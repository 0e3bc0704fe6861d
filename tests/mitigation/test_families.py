"""Every mitigation on a transformer of rectified flow: it generates, or says why it cannot."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch

from memdet.errors import NotApplicableError
from memdet.io_utils import png_bytes
from memdet.mitigating.measures import measure
from memdet.mitigating.page import to_html
from memdet.mitigating.planted import planted_of
from memdet.mitigating.run import mitigate
from memdet.mitigating.text import Comparison
from memdet.mitigation import make_mitigation, make_mitigations, mitigation_classes
from memdet.mitigation.sampler import Sampler
from memdet.models import load_model
from memdet.probing import Context, Items
from memdet.samplesets import Protocol, SampleSet
from tests.helpers.problems import make_items
from tests.helpers.tiny_pipelines import save

STEPS = 4
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
def directory(tmp_path_factory):
    return save("sd3", tmp_path_factory.mktemp("sd3"))


@pytest.fixture(scope="module")
def transformer(directory):
    return load_model(directory)


@pytest.mark.slow
@pytest.mark.parametrize("label", LABELS)
def test_a_mitigation_generates_from_a_flow_or_says_why_not(transformer, label):
    ids = ["d0", "d1"]
    dev = Items(ids, ["alderon soft coat at sale c03", "dovero slim bag on white d04"], ids, [0, 0], True)
    context = Context(Protocol(steps=STEPS, guidance=2.0, seeds=1, noise="shared"))
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


@pytest.mark.slow
def test_a_run_in_colour_is_generated_measured_and_shown(directory, transformer, tmp_path):
    """Everything but what the classifier of grey garments would say."""
    rng = np.random.default_rng(0)
    height, width = transformer.decode(torch.zeros(1, *transformer.latent_shape)).shape[2:]
    images = [png_bytes(rng.integers(0, 256, size=(height, width, 3), dtype=np.uint8)) for _ in CAPTIONS]
    pd.DataFrame({"item_id": ["a", "b"], "image": images}).to_parquet(directory / "items.parquet")
    figures = {"threshold": 0.09, "settings": {"steps": STEPS, "guidance": 2.0}}
    (directory / "extraction.json").write_text(json.dumps(figures))
    frame = pd.DataFrame({"item_id": ["a", "b"], "prompt": CAPTIONS, "label": [1, 0]})
    planted = SampleSet.from_pandas(frame, model=directory, id="mine", steps=STEPS, guidance=2.0, seeds=2)
    methods = make_mitigations(["jain2025-static", "nemo2024-neurons"], CLASSES)
    run = mitigate(planted, methods, tmp_path / "run", progress=False)
    rows = {row.label: row for row in measure(run)}
    assert {label: row.status for label, row in rows.items()} == {
        "none": "ok",
        "reseed": "ok",
        "jain2025-static": "ok",
        "nemo2024-neurons": "not-applicable",
    }
    assert rows["none"].copied.value == 0.0
    assert rows["none"].diverse["memorized"].value > 0
    assert (rows["none"].faithful, rows["none"].kernel) == ({}, None)
    page = to_html(Comparison(run, list(rows.values())), planted_of(planted), {})
    assert page.count('class="shot planted"') == 1
    assert "no cross-attention" in page
    assert "<svg" not in page  # without fidelity there is no plot of it
